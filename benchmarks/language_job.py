"""Reports from tickets by LoRA, QLoRA and full fine-tuning, as jobs of `course train`.

    python benchmarks/language_job.py --folder /tmp/reports [--methods qlora lora full]
    python benchmarks/language_job.py --folder /tmp/reports --rates 5e-4 1e-3 2e-3
    python benchmarks/language_job.py --formats

The first writes tickets with their reports as JSON lines (train, validation and test of
datasets/reports.py, 200 test tickets), runs `course train` with `task: language` for
each method, and prints the table: exact reports before and after.  Killed, it goes on.
The second trains --tried updates at each rate and prints the validation losses, by
which a rate is chosen; the test part is not looked at.  The third prints what the real
model loses on three kinds of text in float32, bfloat16 and NF4.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

UPDATES, TRIED = 120, 40
SIZES = {"train": 1000, "validation": 100, "test": 200}
SYSTEM = "You turn tickets into reports."
MODEL = "smollm2-135m-instruct"


def written(data: Path, parts) -> Path:
    """The folder with a file of JSON lines for each of these parts."""
    from course_lib import datasets

    data.mkdir(parents=True, exist_ok=True)
    for part in parts:
        n = SIZES[part]
        tickets = datasets.load("reports", part)
        rows = zip(tickets.texts[:n], tickets.metadata["report"][:n])
        lines = [
            json.dumps({"system": SYSTEM, "prompt": text, "answer": str(report)})
            for text, report in rows
        ]
        (data / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return data


def trained(args, data: Path, method: str, **settings) -> dict:
    """result.json of one job, run by the command line."""
    folder = Path(args.folder)
    name = "-".join([method, data.name, *(f"{v:g}" for v in settings.values())])
    config = dict(
        task="language",
        model=MODEL,
        method=method,
        precision=args.precision,
        updates=UPDATES,
        evaluate_every=40,
        evaluate_on=48,
        test_answers=200,
        gguf="q8_0" if method == "qlora" else "none",
        split=[0.98, 0.01, 0.01],  # where a part is missing
    )
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config | settings), encoding="utf-8")
    command = [sys.executable, "-m", "course_lib.course.cli", "train", "--config", file]
    command += ["--data", data, "--out", folder / name]
    if args.again:
        command.append("--again")
    here = {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    print(f"# {method} {settings}", flush=True)
    subprocess.run([*map(str, command)], check=True, env=os.environ | here)
    return json.loads((folder / name / "result.json").read_text(encoding="utf-8"))


def compared(args) -> None:
    """Print exact reports before and after, a line for each method."""
    from course_lib.datasets import reports

    rows = []
    data = written(Path(args.folder) / "data", SIZES)
    for method in args.methods:
        chosen = {"rate": args.rate} if args.rate else {}
        found = trained(args, data, method, **chosen)
        wanted = [row["expected"] for row in found["tested"]]
        fields = reports.score(found["after"]["answers"], wanted)
        rows.append((method, found, fields))
    print("\nexact reports and loss of an answer token on the test part")
    for method, found, fields in rows:
        a, b = found["before"], found["after"]
        rate = found["config"]["rate"]
        print(
            f"{method}, rate {rate:g}: before {a['exact']:.1%}, after "
            f"{b['exact']:.1%} (95 % interval {b['low']:.1%} to {b['high']:.1%}); loss "
            f"{a['loss']:.3f}, {b['loss']:.3f}; {found['seconds']['training']:.0f} s"
        )
        print("  " + ", ".join(f"{key} {share:.0%}" for key, share in fields.items()))


def rates(args) -> None:
    """Print the validation loss after a short run at each rate.

    The test part is not there: a few training tickets stand for it.
    """
    data = written(Path(args.folder) / "tried", ("train", "validation"))
    few = dict(updates=args.tried, test_answers=0)
    for method in args.methods:
        for rate in args.rates:
            found = trained(args, data, method, rate=rate, **few)
            print(f"{method} {rate:g}: validation loss {found['curve']['validation']}")


def formats() -> None:
    """Print the loss of a token of three texts in three formats."""
    import torch
    from language_texts import TEXTS

    from course_lib.models import language_models

    made = {
        "float32": language_models.load(MODEL),
        "bfloat16": language_models.load(MODEL, dtype=torch.bfloat16),
        "nf4": language_models.load(MODEL, "nf4"),
    }
    print(f"{'text':12} tokens  " + "  ".join(f"{name:>8}" for name in made))
    for kind, text in TEXTS.items():
        losses = []
        for model, tokenizer in made.values():
            ids = tokenizer(" ".join(text.split()), return_tensors="pt")["input_ids"]
            with torch.no_grad():
                losses.append(model(input_ids=ids, labels=ids).loss.float().item())
        print(f"{kind:12} {ids.shape[1]:6}  " + "  ".join(f"{x:8.3f}" for x in losses))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default="language_job")
    parser.add_argument("--methods", nargs="+", default=["qlora", "lora", "full"])
    parser.add_argument("--rate", type=float, help="instead of each method's default")
    parser.add_argument("--rates", nargs="+", type=float)
    parser.add_argument("--tried", type=int, default=TRIED, help="updates at a rate")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "float32"))
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--formats", action="store_true")
    args = parser.parse_args()
    if args.formats:
        return formats()
    return rates(args) if args.rates else compared(args)


if __name__ == "__main__":
    main()
