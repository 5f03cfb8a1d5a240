"""Fine-tuning on photographs of solar cells: five ways compared.

    python benchmarks/finetune_images.py --fastai FOLDER --before FOLDER [--pairs 7]
    python benchmarks/finetune_images.py --fastai FOLDER --tune [METHOD ...] [--jobs 2]

Everybody gets EfficientNet-Lite0 with ImageNet weights, 100 pictures of 96 pixels of
either class (functional, defective), batches of 32, and mirrors pictures:

- frozen: the lower stages run once on each picture and its mirror image
  (course_lib.training.frozen_stages), the rest is trained on the stored output, both
  in bfloat16 where the processor multiplies it (amp="native")
- fastai: Learner.fine_tune, head alone for an epoch, then all layers
- Trainer: transformers.Trainer on all layers
- before: training.fit on all layers by an earlier build of the course, whose checkout
  --before names (a7ee71e; `git worktree add FOLDER a7ee71e`)
- plain: the same by this build; only when --methods names it

A run is a process of its own, from the start of Python to the stored weights (not what
Python does to close down, whole_process.end); its wall clock, processor time and peak
memory (resident) are those that the system reports.  In all of them Python looks for
garbage more seldom than by default (GARBAGE): imports alone took 0.2 to 0.6 s less,
whole runs showed no difference.
Rounds run each method once with the same seed, that is the same drawn pictures, in an
order that rotates; afterwards the test pictures are scored.  Whatever is done is kept
in --results, and the same command goes on from there, also with other --methods.  The
last lines say whether what was wanted (FASTER, SHARE, equal accuracy) is met.

--tune tries RATES x EPOCHS of each method, and STAGES of frozen, on the validation
pictures, one draw each (--draws), --jobs processes at a time with --threads each.  Of
the settings within 0.01 of its best mean a method takes the one of fewest passes, then
the best.  frozen, which is to be as accurate and no more, takes of its settings that
reach the best of all others the one of fewest passes, then of most frozen stages, then
the best.  SETTINGS are to be what that gave.  fastai is no dependency of the course;
how to install it into a folder is said in training_throughput.py.
"""

import argparse
import gc
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, median, stdev
from threading import Lock

from whole_process import end, measured

# nothing heavy here: a child's peak memory counts that of the process it came from

LABELS, BATCH = 100, 32
GARBAGE = 100_000  # new objects before Python looks for some
FASTER = {"fastai": 4, "Trainer": 4, "before": 3}  # wanted, by the wall clock
SHARE = {"fastai": 0.6, "Trainer": 0.6}  # wanted at most, of their peak memory
RATES = {  # base learning rates tried
    "frozen": (1e-3, 3e-3),
    "fastai": (2e-3, 6e-3),
    "Trainer": (1e-3, 3e-3),
    "plain": (1e-3, 3e-3),
}
EPOCHS = (2, 4, 8)  # passes over the pictures tried
STAGES = {"frozen": (("stage5",), ("stage6",))}  # frozen up to it, tried
# Balanced accuracy on the validation pictures, mean of draws 100 and 101, one thread,
# after 2, 4 and 8 passes.  frozen, stage5 1e-3: .759, .852, .851; 3e-3: .783, .832,
# .846; stage6 1e-3: .756, .817, .830; 3e-3: .791, .825, .813.  fastai 2e-3: .694, .735,
# .742; 6e-3: .715, .741, .748.  Trainer 1e-3: .772, .783, .783; 3e-3: .731, .790, .796.
# plain 1e-3: .759, .805, .782; 3e-3: .772, .785, .808.
SETTINGS = {  # (rate, epochs, stage of frozen); before as plain, being the same method
    "frozen": (3e-3, 4, "stage6"),
    "fastai": (6e-3, 4),
    "Trainer": (3e-3, 4),
    "before": (1e-3, 4),
    "plain": (1e-3, 4),
}

WRITING = Lock()  # of --results


# -- a run, in a process of its own ------------------------------------------------


def drawn(seed):
    """LABELS pictures of each class, of the training split."""
    import numpy as np

    from course_lib import datasets

    data = datasets.load("solar_cells", "train")
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(data.labels == c))[:LABELS] for c in (0, 1)]
    return data.subset(np.concatenate(rows))


def frozen(backbone, train, seed, rate, epochs, stage):
    """Up to the stage once, then the rest; two views make a pass twice as long."""
    from course_lib import training
    from course_lib.training.frozen_stages import MIRRORED, FrozenStages

    stages = FrozenStages(backbone, stage, train.images)
    native = training.Runtime(amp="native")
    training.fit(
        stages.upper,
        stages.run(train, MIRRORED, batch_size=16, amp="native"),
        epochs=epochs // len(MIRRORED),
        lr=rate,
        seed=seed,
        recipe=training.Recipe(batch_size=BATCH, runtime=native),
    )


def plain(backbone, train, seed, rate, epochs):
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


def fastai(backbone, train, seed, rate, epochs):
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


def trainer(backbone, train, seed, rate, epochs):
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


METHODS = {"frozen": frozen, "fastai": fastai, "Trainer": trainer, "plain": plain}


def child(method, rate, epochs, *stage, seed, weights):
    """Train and store the weights."""
    gc.set_threshold(GARBAGE)
    import torch

    from course_lib.models import zoo

    torch.manual_seed(seed)
    backbone = zoo.load("imagenet/efficientnet-lite0", 2, seed=seed)
    setting = float(rate), int(epochs), *stage
    METHODS[method](backbone, drawn(seed), seed, *setting)
    store(backbone.model, weights)


def store(model, weights):
    """The weights as safetensors."""
    from safetensors.torch import save_file

    state = model.state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, weights)


def draw(seed, path):
    """Preprocessed pictures and labels for the earlier build; prints Lite0's file."""
    import torch
    from safetensors.torch import save_file

    from course_lib import assets
    from course_lib.models import zoo

    train, backbone = drawn(seed), zoo.load("imagenet/efficientnet-lite0", 2)
    x, y = backbone.preprocess(train.images), torch.as_tensor(train.labels)
    save_file({"x": x.contiguous(), "y": y}, path)
    print(assets.folder("efficientnet-lite0") / "model.safetensors")


def before(published, path, rate, epochs, seed, weights):
    """`child` for the earlier build: all layers by its own loop."""
    gc.set_threshold(GARBAGE)
    import torch
    from safetensors.torch import load_file

    from course_lib import training, zoo  # of that build

    torch.manual_seed(seed)
    backbone = zoo.load(f"timm/tf_efficientnet_lite0@{published}", 2)
    pictures = load_file(path)
    training.fit(
        backbone,
        (pictures["x"], pictures["y"]),
        epochs=epochs,
        lr=rate,
        seed=seed,
        batch_size=BATCH,
        augment=training.random_flips(),
    )
    store(backbone.model, weights)


def score(split, files):
    """Print the balanced accuracy of each file of weights on a split."""
    from safetensors.torch import load_file

    from course_lib import datasets, training
    from course_lib.models import zoo

    backbone = zoo.load("imagenet/efficientnet-lite0", 2)
    pictures = datasets.load("solar_cells", split)
    for weights in files:
        backbone.model.load_state_dict(load_file(weights))
        backbone.model.eval()
        print(training.evaluate(backbone, pictures)["balanced_accuracy"])


# -- the processes -----------------------------------------------------------------


def process(args, *command, searched=None):
    """Run this script with other arguments, measured as a whole."""
    searched = searched or [str(Path(__file__).resolve().parents[1])]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(args.threads))
    rest = {
        "PYTHONPATH": os.pathsep.join(searched),
        "TRANSFORMERS_VERBOSITY": "error",
    }
    command = [__file__, *map(str, command)]
    return measured(command, os.environ | threads | rest)


def trained(args, method, about, where):
    """One run, measured; its weights are in ``where``."""
    weights = Path(where) / f"{method}.safetensors"
    if method == "fastai":  # behind the course's own packages
        here = str(Path(__file__).resolve().parents[1])
        searched = [here, *([args.fastai] if args.fastai else [])]
        return process(args, "--child", method, *about, weights, searched=searched)
    if method != "before":
        return process(args, "--child", method, *about, weights)
    pictures = Path(where) / "pictures.safetensors"
    published = process(args, "--draw", about[-1], pictures).output.strip()
    about = (published, pictures, *about, weights)
    return process(args, "--child-before", *about, searched=[args.before])


def runs(args, settings, seed, split):
    """{method: row} of runs of one seed, kept in --results under their settings."""
    path = Path(args.results)
    with WRITING:
        kept = json.loads(path.read_text()) if path.exists() else {}
    keys = {
        name: " ".join(map(str, (name, *setting, seed, split, "threads", args.threads)))
        for name, setting in settings.items()
    }
    missing = [name for name in settings if keys[name] not in kept]
    with tempfile.TemporaryDirectory() as where:
        took = {n: trained(args, n, (*settings[n], seed), where) for n in missing}
        files = [Path(where) / f"{name}.safetensors" for name in missing]
        scores = process(args, "--score", split, *files).output if missing else ""
    for name, accuracy in zip(missing, map(float, scores.split())):
        it = took[name]
        row = dict(wall=it.wall, cpu=it.cpu, peak=it.peak, accuracy=accuracy)
        with WRITING:
            kept = json.loads(path.read_text()) if path.exists() else {}
            kept[keys[name]] = row | {"load": os.getloadavg()[0]}
            path.write_text(json.dumps(kept, indent=1))
        print(
            f"{keys[name]}: {it.wall:.1f} s, processor {it.cpu:.1f} s, "
            f"{it.peak:.0f} MB, balanced accuracy {accuracy:.3f}",
            flush=True,
        )
    return {name: kept[key] for name, key in keys.items()}


def tune(args):
    """Print the setting that the validation pictures choose, for each method."""
    seeds = range(100, 100 + args.draws)
    tries = {
        (method, (rate, epochs, *stage), seed): None
        for method in args.tune or METHODS
        for rate in RATES[method]
        for epochs in EPOCHS
        for stage in STAGES.get(method, [()])
        for seed in seeds
    }

    def accuracy(one):
        method, setting, seed = one
        return runs(args, {method: setting}, seed, "validation")[method]["accuracy"]

    with ThreadPoolExecutor(args.jobs) as pool:
        tries = dict(zip(tries, pool.map(accuracy, tries)))
    means = {method: {} for method in args.tune or METHODS}
    for method, setting, _ in tries:
        drawn = [tries[method, setting, seed] for seed in seeds]
        means[method][setting] = mean(drawn)
    others = [max(found.values()) for name, found in means.items() if name != "frozen"]
    for method, found in means.items():
        least = max(found.values()) - 0.01
        if method == "frozen" and others:
            least = min(max(others), least)
        near = [s for s in found if found[s] >= least]
        fewest = min(epochs for _, epochs, *_ in near)
        near = [s for s in near if s[1] == fewest]
        chosen = max(near, key=lambda s: (s[2:], found[s]))
        rows = ", ".join(f"{k} {v:.3f}" for k, v in sorted(found.items()))
        print(f"{method}: {chosen}; {rows}")


def measure(args):
    """The rounds, then the table and what is met."""
    names = args.methods or ["frozen", *FASTER]
    rows = {name: [] for name in names}
    for seed in range(args.pairs):
        turn = seed % len(names)
        order = {name: SETTINGS[name] for name in names[turn:] + names[:turn]}
        for name, row in runs(args, order, seed, "test").items():
            rows[name].append(row)
    print(
        f"{'':9}{'wall s':>8}{'cpu s':>8}{'MB':>7}{'balanced accuracy':>22}"
        f"{'x faster: wall':>16}{'cpu':>6}{'share of memory':>17}"
    )
    ours, verdicts = rows["frozen"], []
    for name, theirs in rows.items():
        middle = {k: median(row[k] for row in theirs) for k in ("wall", "cpu", "peak")}
        pairs = list(zip(theirs, ours))
        right, half = interval([row["accuracy"] for row in theirs])
        wall, cpu = (median(a[k] / b[k] for a, b in pairs) for k in ("wall", "cpu"))
        share = median(b["peak"] / a["peak"] for a, b in pairs)
        print(
            f"{name:9}{middle['wall']:8.1f}{middle['cpu']:8.1f}{middle['peak']:7.0f}"
            f"{f'{right:.3f} +- {half:.3f}':>22}"
            f"{wall:16.2f}{cpu:6.2f}{share:17.2f}"
        )
        if name in FASTER:
            faster = f"{FASTER[name]} times as fast as {name}: {wall:.2f}"
            verdicts.append((faster, wall >= FASTER[name]))
            more, half = interval([b["accuracy"] - a["accuracy"] for a, b in pairs])
            equal = f"as accurate as {name}: {more:+.3f} +- {half:.3f}"
            verdicts.append((equal, more + half >= 0))
        if name in SHARE:
            memory = f"at most {SHARE[name]} of the memory of {name}: {share:.2f}"
            verdicts.append((memory, share <= SHARE[name]))
    for what, met in verdicts:
        print(f"{what}: {'met' if met else 'not met'}")


def interval(values):
    """Mean and half of its 95 % interval by Student's t, over the seeds."""
    from scipy.stats import t

    if len(values) < 2:
        return mean(values), float("nan")
    half = t.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
    return mean(values), half


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fastai", metavar="FOLDER", help="where fastai is installed")
    parser.add_argument("--before", metavar="FOLDER", help="a checkout of a7ee71e")
    parser.add_argument("--pairs", type=int, default=7, help="rounds, one a seed")
    parser.add_argument("--methods", nargs="+", choices=SETTINGS, help="frozen first")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", default="finetune_images.json")
    parser.add_argument("--tune", nargs="*", metavar="METHOD", choices=METHODS)
    parser.add_argument("--draws", type=int, default=1, help="of --tune")
    parser.add_argument("--jobs", type=int, default=1, help="processes of --tune")
    hiding = {"child": "+", "child-before": 6, "draw": 2, "score": "+"}
    for hidden, n in hiding.items():
        parser.add_argument(f"--{hidden}", nargs=n, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        *method, seed, weights = args.child
        child(*method, seed=int(seed), weights=weights)
        end()
    elif args.child_before:
        *files, rate, epochs, seed, weights = args.child_before
        before(*files, float(rate), int(epochs), int(seed), weights)
        end()
    elif args.draw:
        draw(int(args.draw[0]), args.draw[1])
    elif args.score:
        score(args.score[0], args.score[1:])
    elif args.tune is not None:
        tune(args)
    else:
        measure(args)


if __name__ == "__main__":
    main()
