"""QLoRA of large architectures on a GPU, under a cap: python benchmarks/qlora_gpu.py

Random weights from the published configurations, NF4 with double quantisation, LoRA of
rank 16 beside every linear layer, gradient checkpointing.  Prints peak memory, the
planner's figure and tokens per second, and stores them with the date in
data/qlora_gpu.json, which lesson 10 shows where there is no GPU.
"""

import argparse
import datetime
from dataclasses import replace

import torch

from course_lib import files, paths
from course_lib.memory import large_models

SIZES = ("Llama-3.1-8B", "Llama-2-7B", "Llama-2-13B")


def main():
    """Measure each architecture, the next even if one does not fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=SIZES)
    parser.add_argument("--gb", type=float, default=24.0, help="cap in GiB")
    parser.add_argument("--sequence", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no CUDA device here; this measures one")
    large_models.capped(args.gb)
    rows = []
    for name in args.models:
        about = dict(model=name, sequence=args.sequence, batch=args.batch)
        try:
            options = replace(
                large_models.BARE, sequence=args.sequence, batch=args.batch
            )
            row = large_models.measure_step(name, options)
            peak, planned = row["peak"] / 1e9, row["planned"] / 1e9
            speed = row["tokens_per_second"]
            print(f"{name}: {peak:.2f} GB, planned {planned:.2f}, {speed:.0f} tokens/s")
        except torch.cuda.OutOfMemoryError:
            print(f"{name}: does not fit in {args.gb:g} GiB")
            row = {"out_of_memory": True}
        torch.cuda.empty_cache()
        rows.append(about | row)
    content = dict(
        date=datetime.date.today().isoformat(),
        device=torch.cuda.get_device_name(),
        cap_gib=args.gb,
        torch=torch.__version__,
        rows=rows,
    )
    files.atomic_write_json(paths.DATA / "qlora_gpu.json", content)


if __name__ == "__main__":
    main()
