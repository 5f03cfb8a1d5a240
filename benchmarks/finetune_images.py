"""Fine-tuning on photographs of solar cells: four ways compared.

    python benchmarks/finetune_images.py --fastai FOLDER [--pairs 7]
    python benchmarks/finetune_images.py --fastai FOLDER --tune [METHOD ...]

Everybody gets EfficientNet-Lite0 with ImageNet weights, 100 pictures of 96 pixels of
either class (functional, defective), batches of 32, and mirrors pictures:

- frozen: stages up to the fifth run once on each picture and its mirror image
  (course_lib.training.frozen_stages), the rest is trained on the stored output
- plain: course_lib.training.fit on all layers
- fastai: Learner.fine_tune, head alone for an epoch, then all layers
- Trainer: transformers.Trainer on all layers

A run is a process of its own, from the start of Python to the stored weights; its wall
clock, processor time and peak memory (resident) are those that the system reports.
Rounds run each method once with the same seed, that is the same drawn pictures, in an
order that rotates; afterwards the test pictures are scored.  Whatever is done is kept
in --results, and the same command goes on from there.

--tune tries RATES x EPOCHS of each method on the validation pictures, --draws draws
each; of the settings within 0.01 of the best mean the shortest is taken, then the best.
SETTINGS are to be what that gave.  fastai is no dependency of the course; how to
install it into a folder is said in training_throughput.py.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from statistics import median

from whole_process import measured

# nothing heavy here: a child's peak memory counts that of the process it came from

LABELS, BATCH, STAGE = 100, 32, "stage5"
RATES = {  # base learning rates tried
    "frozen": (1e-3, 3e-3),
    "plain": (1e-3, 3e-3),
    "fastai": (2e-3, 6e-3),
    "Trainer": (1e-3, 3e-3),
}
EPOCHS = (2, 4, 8)  # passes over the pictures tried
SETTINGS = {  # (rate, epochs): frozen by one draw of --tune, the others NOT TUNED YET
    "frozen": (1e-3, 4),
    "plain": (1e-3, 8),
    "fastai": (6e-3, 8),
    "Trainer": (1e-3, 8),
}


# -- a run, in a process of its own ------------------------------------------------


def drawn(seed):
    """LABELS pictures of each class, of the training split."""
    import numpy as np

    from course_lib import datasets

    data = datasets.load("solar_cells", "train")
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(data.labels == c))[:LABELS] for c in (0, 1)]
    return data.subset(np.concatenate(rows))


def frozen(backbone, train, rate, epochs, seed):
    """Stages up to STAGE once, then the rest; two views make a pass twice as long."""
    import torch

    from course_lib import training
    from course_lib.training.frozen_stages import MIRRORED, FrozenStages

    torch.set_float32_matmul_precision("medium")  # bfloat16 where the processor has it
    stages = FrozenStages(backbone, STAGE, train.images)
    training.fit(
        stages.upper,
        stages.run(train, MIRRORED),
        epochs=epochs // len(MIRRORED),
        lr=rate,
        seed=seed,
        recipe=training.Recipe(batch_size=BATCH),
    )


def plain(backbone, train, rate, epochs, seed):
    """All layers by the course's loop."""
    from course_lib import training

    recipe = training.Recipe(batch_size=BATCH, augment=training.random_flips())
    training.fit(backbone, train, epochs=epochs, lr=rate, seed=seed, recipe=recipe)


def mirroring(backbone, train, as_dict):
    """A torch data set of preprocessed pictures, each mirrored half of the time."""
    import torch

    class Pictures(torch.utils.data.Dataset):
        x, y = backbone.preprocess(train.images), torch.as_tensor(train.labels)

        def __len__(self):
            return len(self.x)

        def __getitem__(self, i):
            x = self.x[i].flip(2) if torch.rand(()) < 0.5 else self.x[i]
            return dict(x=x, labels=self.y[i]) if as_dict else (x, self.y[i])

    return Pictures()


def fastai(backbone, train, rate, epochs, seed):
    """Learner.fine_tune with its defaults, but its validation skipped."""
    import torch
    from fastai.callback.core import Callback, CancelValidException
    from fastai.callback.schedule import Learner  # with fine_tune
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader

    class NoValidation(Callback):
        def before_validate(self):
            raise CancelValidException()

    def body_and_head(model):
        head = list(model.get_classifier().parameters())
        known = {id(p) for p in head}
        return [[p for p in model.parameters() if id(p) not in known], head]

    data = mirroring(backbone, train, as_dict=False)
    loaders = [
        DataLoader(data, bs=BATCH, shuffle=shuffle, num_workers=0)
        for shuffle in (True, False)
    ]
    learner = Learner(
        DataLoaders(*loaders, device=torch.device("cpu")),
        backbone.model,
        loss_func=torch.nn.CrossEntropyLoss(),
        splitter=body_and_head,
        cbs=[NoValidation()],
    )
    with learner.no_logging(), learner.no_bar():
        learner.fine_tune(epochs, rate)


def trainer(backbone, train, rate, epochs, seed):
    """transformers.Trainer with its defaults: AdamW, linear decay, clipped to 1."""
    import torch
    from transformers import Trainer, TrainingArguments

    class WithLoss(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x, labels=None):
            logits = self.model(x)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            return dict(loss=loss, logits=logits)

    with tempfile.TemporaryDirectory() as where:
        settings = TrainingArguments(
            where,
            num_train_epochs=epochs,
            per_device_train_batch_size=BATCH,
            learning_rate=rate,
            seed=seed,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        data = mirroring(backbone, train, as_dict=True)
        Trainer(WithLoss(backbone.model), settings, train_dataset=data).train()


METHODS = {"frozen": frozen, "plain": plain, "fastai": fastai, "Trainer": trainer}


def child(method, rate, epochs, seed, weights):
    """Train and store the weights."""
    import torch
    from safetensors.torch import save_file

    from course_lib.models import zoo

    torch.manual_seed(seed)
    backbone = zoo.load("imagenet/efficientnet-lite0", 2, seed=seed)
    METHODS[method](backbone, drawn(seed), rate, epochs, seed)
    state = backbone.model.state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, weights)


def score(weights, split):
    """Print the balanced accuracy of stored weights on a split."""
    from safetensors.torch import load_file

    from course_lib import datasets, training
    from course_lib.models import zoo

    backbone = zoo.load("imagenet/efficientnet-lite0", 2)
    backbone.model.load_state_dict(load_file(weights))
    backbone.model.eval()
    found = training.evaluate(backbone, datasets.load("solar_cells", split))
    print(found["balanced_accuracy"])


# -- the processes -----------------------------------------------------------------


def environment(args):
    """That of a run: threads, and fastai behind the course's own packages."""
    here = str(Path(__file__).resolve().parents[1])
    searched = [here, *([args.fastai] if args.fastai else [])]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(args.threads))
    return (
        os.environ
        | threads
        | {
            "PYTHONPATH": os.pathsep.join(searched),
            "TRANSFORMERS_VERBOSITY": "error",
        }
    )


def process(args, *command):
    """Run this script with other arguments, measured as a whole."""
    return measured([__file__, *map(str, command)], environment(args))


def run(args, method, rate, epochs, seed, split):
    """One run and its score, kept in --results under its settings."""
    key = f"{method} {rate:g} {epochs} {seed} {split} threads {args.threads}"
    path = Path(args.results)
    kept = json.loads(path.read_text()) if path.exists() else {}
    if key not in kept:
        with tempfile.TemporaryDirectory() as where:
            weights = Path(where) / "model.safetensors"
            about = (method, rate, epochs, seed, weights)
            took = process(args, "--child", *about)
            accuracy = float(process(args, "--score", weights, split).output)
        row = dict(wall=took.wall, cpu=took.cpu, peak=took.peak, accuracy=accuracy)
        kept = json.loads(path.read_text()) if path.exists() else {}
        kept[key] = row | {"load": os.getloadavg()[0]}
        path.write_text(json.dumps(kept, indent=1))
        print(
            f"{key}: {took.wall:.1f} s, processor {took.cpu:.1f} s, "
            f"{took.peak:.0f} MB, balanced accuracy {accuracy:.3f}",
            flush=True,
        )
    return kept[key]


def tune(args):
    """Print the setting that the validation pictures choose, for each method."""
    for method in args.tune or METHODS:
        tries = {}
        for rate in RATES[method]:
            for epochs in EPOCHS:
                rows = [
                    run(args, method, rate, epochs, seed, "validation")
                    for seed in range(100, 100 + args.draws)
                ]
                tries[rate, epochs] = sum(row["accuracy"] for row in rows) / len(rows)
        best = max(tries.values())
        near = [setting for setting in tries if tries[setting] >= best - 0.01]
        shortest = min(epochs for _, epochs in near)
        chosen = max((s for s in near if s[1] == shortest), key=tries.get)
        print(
            f"{method}: {chosen}; "
            + ", ".join(f"{k} {v:.3f}" for k, v in tries.items())
        )


def measure(args):
    """The rounds, then the table."""
    names, rows = list(METHODS), {name: [] for name in METHODS}
    for seed in range(args.pairs):
        turn = seed % len(names)
        for name in names[turn:] + names[:turn]:
            rows[name].append(run(args, name, *SETTINGS[name], seed, "test"))
    print(
        f"{'':9}{'wall s':>8}{'cpu s':>8}{'MB':>7}{'balanced accuracy':>22}"
        f"{'x faster: wall':>16}{'cpu':>6}{'share of memory':>17}"
    )
    ours = rows["frozen"]
    for name, theirs in rows.items():
        middle = {k: median(row[k] for row in theirs) for k in ("wall", "cpu", "peak")}
        pairs = list(zip(theirs, ours))
        wall, cpu = (median(a[k] / b[k] for a, b in pairs) for k in ("wall", "cpu"))
        share = median(b["peak"] / a["peak"] for a, b in pairs)
        print(
            f"{name:9}{middle['wall']:8.1f}{middle['cpu']:8.1f}{middle['peak']:7.0f}"
            f"{interval([row['accuracy'] for row in theirs]):>22}"
            f"{wall:16.2f}{cpu:6.2f}{share:17.2f}"
        )


def interval(values):
    """Mean and 95 % interval of it by Student's t, over the seeds."""
    from statistics import mean, stdev

    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
    return f"{mean(values):.3f} +- {half:.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fastai", metavar="FOLDER", help="where fastai is installed")
    parser.add_argument("--pairs", type=int, default=7, help="rounds, one a seed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", default="finetune_images.json")
    parser.add_argument("--tune", nargs="*", metavar="METHOD", choices=METHODS)
    parser.add_argument("--draws", type=int, default=2, help="of --tune")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--score", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        method, rate, epochs, seed, weights = args.child
        child(method, float(rate), int(epochs), int(seed), weights)
    elif args.score:
        score(*args.score)
    elif args.tune is not None:
        tune(args)
    else:
        measure(args)


if __name__ == "__main__":
    main()
