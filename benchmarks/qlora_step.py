"""A QLoRA update of SmolLM2: packed against transformers.Trainer with its defaults.

    python benchmarks/qlora_step.py [--pairs 7] [--updates 5] [--tokens 1024]
    python benchmarks/qlora_step.py --gradients

Both load SmolLM2-135M-Instruct in NF4 by bitsandbytes (double quantisation, products
in float32, its default) with adapters of rank 16 by peft beside all linear layers, and
make the same updates with AdamW, gradients clipped to norm 1, on the same batches of 8
conversations in the model's chat template, as `course train` makes them: a system
message of a sentence, a ticket, and its report, which is to be learned.  The one is
transformers.Trainer, which pads a batch and computes all logits; the other is
course_lib.methods.packed_updates, in rows as long as a job makes them.  Wanted are
FASTER and SHARE: the last lines say whether they are met.

A run is a process of its own.  Time is the median of its updates after the first, its
peak memory (resident) that of the whole process as the system reports it.  Pairs
alternate in order; whatever is done is kept in --results, and the same command goes on
from there.  --gradients compares the gradients of both for one batch, in one process.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median

from whole_process import end, measured

# nothing heavy here: a child's peak memory counts that of the process it came from

BATCH, RATE = 8, 1e-3
SYSTEM = "You turn tickets into reports."
METHODS = ("packed", "Trainer")
FASTER, SHARE, DIFFERENCE = 1.3, 0.75, 1e-3  # wanted: times, of memory, of gradients


def loaded(updates):
    """The model with adapters, and the token lists of so many batches."""
    from course_lib import datasets
    from course_lib.methods import instruction_tuning
    from course_lib.models import language_models

    model, tokenizer = language_models.load("smollm2-135m-instruct", "nf4")
    model = instruction_tuning.with_lora(model, r=16).train()
    data, end = datasets.load("reports", "train"), language_models.ends(tokenizer)[0]
    talks = [
        [("system", SYSTEM), ("user", ticket), ("assistant", str(report))]
        for ticket, report in zip(data.texts, data.metadata["report"])
    ][: BATCH * updates]
    rows = [language_models.conversation(tokenizer, talk, end) for talk in talks]
    return model, tokenizer, rows


class Clock:
    """Wall and processor seconds of each update."""

    def __init__(self):
        self.rows = []

    def begin(self):
        self.started = time.perf_counter(), time.process_time()

    def end(self):
        now = time.perf_counter(), time.process_time()
        self.rows.append([b - a for a, b in zip(self.started, now)])


def packed(model, tokenizer, rows, clock, tokens):
    """The loop around packed_updates.backward."""
    import torch

    from course_lib.methods import packed_updates

    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=RATE, weight_decay=0.0)
    for start in range(0, len(rows), BATCH):
        clock.begin()
        packed_updates.backward(model, rows[start : start + BATCH], tokens)
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.end()


def trainer(model, tokenizer, rows, clock, _):
    """transformers.Trainer with its defaults, on batches in the order of the rows."""
    import torch
    from transformers import (
        DataCollatorForSeq2Seq,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    class Timed(TrainerCallback):
        def on_step_begin(self, *_, **__):
            clock.begin()

        def on_step_end(self, *_, **__):
            clock.end()

    class InOrder(Trainer):
        def get_train_dataloader(self):
            return torch.utils.data.DataLoader(
                rows, batch_size=BATCH, collate_fn=self.data_collator
            )

    with tempfile.TemporaryDirectory() as where:
        settings = TrainingArguments(
            where,
            num_train_epochs=1,
            learning_rate=RATE,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        collate = DataCollatorForSeq2Seq(tokenizer, padding=True)
        InOrder(
            model,
            settings,
            train_dataset=rows,
            data_collator=collate,
            callbacks=[Timed()],
        ).train()


def child(method, updates, tokens):
    """One run; prints the seconds of each update."""
    clock = Clock()
    {"packed": packed, "Trainer": trainer}[method](*loaded(updates), clock, tokens)
    print(json.dumps(clock.rows))


def gradients():
    """Print the difference of the gradients of one batch, relative to their norm."""
    import torch
    from transformers import DataCollatorForSeq2Seq

    from course_lib.methods import packed_updates

    model, tokenizer, rows = loaded(1)
    learning = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():  # B is zero at first, and A would have no gradient
        for p in learning:
            p.add_(0.01 * torch.randn(p.shape, generator=torch.manual_seed(0)))

    def found():
        vector = torch.cat([p.grad.flatten() for p in learning])
        model.zero_grad(set_to_none=True)
        return vector

    batch = DataCollatorForSeq2Seq(tokenizer, padding=True)(rows)
    loss = model(**batch).loss
    loss.backward()
    theirs, mine = found(), packed_updates.backward(model, rows)
    difference = (found() - theirs).norm() / theirs.norm()
    verdict = "met" if difference <= DIFFERENCE else "not met"
    print(
        f"batch {tuple(batch['input_ids'].shape)}: {int(batch['attention_mask'].sum())}"
        f" tokens, {int((batch['labels'] >= 0).sum())} labels; loss {loss.item():.6f} "
        f"and {mine:.6f}; gradients differ by {difference:.1e} of their norm "
        f"(at most {DIFFERENCE}: {verdict})"
    )


def run(args, method, pair):
    """One process, kept in --results: seconds a step, processor seconds, MB."""
    key = (
        f"{method} {pair} updates {args.updates} threads {args.threads} "
        f"tokens {args.tokens}"
    )
    path = Path(args.results)
    kept = json.loads(path.read_text()) if path.exists() else {}
    if key not in kept:
        threads = dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(args.threads)
        )
        here = {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        took = measured(
            [__file__, "--child", method]
            + ["--updates", str(args.updates), "--tokens", str(args.tokens)],
            os.environ | threads | here,
        )
        steps = json.loads(took.output.splitlines()[-1])[1:]  # the first warms up
        wall, cpu = (median(column) for column in zip(*steps))
        kept[key] = dict(wall=wall, cpu=cpu, peak=took.peak)
        kept[key]["load"] = os.getloadavg()[0]
        path.write_text(json.dumps(kept, indent=1))
        print(f"{key}: {wall:.2f} s, processor {cpu:.2f} s a step", flush=True)
    return kept[key]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--updates", type=int, default=5, help="of a run")
    parser.add_argument("--tokens", type=int, default=1024, help="of a packed row")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", default="qlora_step.json")
    parser.add_argument("--gradients", action="store_true")
    parser.add_argument("--child", choices=METHODS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.updates, args.tokens)
        end()
    if args.gradients:
        return gradients()
    pairs = []
    for pair in range(args.pairs):
        order = METHODS[:: 1 - 2 * (pair % 2)]
        pairs.append({method: run(args, method, pair) for method in order})
    for method in METHODS:
        wall, cpu, peak = (
            median(pair[method][k] for pair in pairs) for k in ("wall", "cpu", "peak")
        )
        print(f"{method:8} {wall:.2f} s, processor {cpu:.2f} s a step, {peak:.0f} MB")
    wall, cpu = (
        median(pair["Trainer"][k] / pair["packed"][k] for pair in pairs)
        for k in ("wall", "cpu")
    )
    share = median(pair["packed"]["peak"] / pair["Trainer"]["peak"] for pair in pairs)
    print(
        f"packed is {wall:.2f} times as fast by the wall clock, {cpu:.2f} by processor "
        f"time, with {share:.2f} of the memory (medians of {len(pairs)} pairs)"
    )
    for what, met in (
        (f"{FASTER} times as fast by the wall clock", wall >= FASTER),
        (f"at most {SHARE} of the memory", share <= SHARE),
    ):
        print(f"{what}: {'met' if met else 'not met'}")


if __name__ == "__main__":
    main()
