"""Images a second of the course's training loop, of a plain one, and of libraries'.

    python benchmarks/training_throughput.py [--rounds 9] [--fastai FOLDER]

Everybody trains a copy of the same network on the same pictures (all training wafers,
64 x 64, already preprocessed, in memory) with the same batch size, torch.optim.AdamW at
a constant rate, in the same process with the same number of threads; no augmentation,
validation, clipping or decay.  Who trains:

- plain: the shortest loop of plain PyTorch that shuffles; it keeps no losses
- plain, DataLoader: the same over torch's DataLoader, one picture at a time
- course: course_lib.training.fit
- Trainer: transformers.Trainer
- fastai: Learner.fit, where --fastai names a folder that holds it

Each round runs all of them once, in an order that rotates and, every other round, runs
backwards; one round before the first warms up.  Prints images a second (median of the
rounds), and the ratio to `plain` within the round: its median and the middle half of
the rounds, by the wall clock and by the processor time of the process, which a busy
machine disturbs less.  Checks that each made the same number of updates and learned.

fastai is no dependency of the course.  Beside the course's own torch, without another
torch and without its optional parts, it installs into a folder of its own:

    pip install --no-deps --target FOLDER "fastai==2.8.12" "fastcore>=2.2.22,<3" \\
        "fasttransform>=0.0.3" "fastprogress<1.1" "fastdownload<2" \\
        "plum-dispatch<2.10" beartype cloudpickle pandas
"""

import argparse
import copy
import math
import os
import sys
import tempfile
import time

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from course_lib import datasets, training
from course_lib.models import zoo
from course_lib.training.hf_trainer import quiet_arguments


class Pictures(torch.utils.data.Dataset):
    """Tensors as a data set: pairs, or dicts as Trainer wants them."""

    def __init__(self, X, y, as_dict=False):
        self.X, self.y, self.as_dict = X, y, as_dict

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        if self.as_dict:
            return dict(x=self.X[i], labels=self.y[i])
        return self.X[i], self.y[i]


def adamw(parameters, lr):
    """The optimizer of all, as `fit` makes it."""
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0, fused=True)


# Each takes (model, X, y, args) and returns (the training to be timed, its updates).


def plain(model, X, y, args):
    """Shuffle, index, forward, backward, step."""
    optimizer = adamw(model.parameters(), args.lr)

    def train():
        model.train()
        generator = torch.Generator().manual_seed(0)
        for _ in range(args.epochs):
            order = torch.randperm(len(X), generator=generator)
            for rows in order.split(args.batch_size):
                loss = cross_entropy(model(X[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return train, lambda: updates(optimizer)


def plain_loader(model, X, y, args):
    """The same over a DataLoader."""
    optimizer = adamw(model.parameters(), args.lr)
    loader = torch.utils.data.DataLoader(
        Pictures(X, y), batch_size=args.batch_size, shuffle=True
    )

    def train():
        model.train()
        for _ in range(args.epochs):
            for inputs, labels in loader:
                loss = cross_entropy(model(inputs), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return train, lambda: updates(optimizer)


def course(model, X, y, args):
    """course_lib.training.fit, the whole call."""
    optimizer = adamw(model.parameters(), args.lr)

    def train():
        training.fit(
            model,
            (X, y),
            epochs=args.epochs,
            recipe=training.Recipe(
                batch_size=args.batch_size,
                optimization=training.Optimization(
                    optimizer=optimizer, schedule="constant", warmup=0.0
                ),
            ),
        )

    return train, lambda: updates(optimizer)


class WithLoss(torch.nn.Module):
    """A classifier that computes its loss, as Trainer wants it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, labels=None):
        logits = self.model(x)
        return dict(loss=cross_entropy(logits, labels), logits=logits)


def trainer(model, X, y, args):
    """transformers.Trainer.train."""
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_callback import PrinterCallback

    optimizer = adamw(model.parameters(), args.lr)
    settings = TrainingArguments(
        **quiet_arguments(
            tempfile.mkdtemp(prefix="throughput-"),
            seed=0,
            num_train_epochs=args.epochs,
            per_device_train_batch_size=args.batch_size,
            learning_rate=args.lr,
            lr_scheduler_type="constant",
            max_grad_norm=0.0,
            use_cpu=True,
        )
    )
    run = Trainer(
        WithLoss(model),
        settings,
        train_dataset=Pictures(X, y, as_dict=True),
        optimizers=(optimizer, None),
    )
    run.remove_callback(PrinterCallback)
    return run.train, lambda: updates(optimizer)


def fastai(model, X, y, args):
    """fastai's Learner.fit with its validation skipped."""
    from fastai.callback.core import Callback, CancelValidException
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    class NoValidation(Callback):
        def before_validate(self):
            raise CancelValidException()

    data = Pictures(X, y)
    loaders = [
        DataLoader(data, bs=args.batch_size, shuffle=shuffle, num_workers=0)
        for shuffle in (True, False)
    ]
    learner = Learner(
        DataLoaders(*loaders, device=torch.device("cpu")),
        model,
        loss_func=torch.nn.CrossEntropyLoss(),
        opt_func=lambda params, lr: OptimWrapper(
            params, torch.optim.AdamW, lr=lr, weight_decay=0.0, fused=True
        ),
        lr=args.lr,
        wd=0.0,
        cbs=[NoValidation()],
    )

    def train():
        with learner.no_logging():
            learner.fit(args.epochs, lr=args.lr, wd=0.0)

    return train, lambda: updates(learner.opt.opt)


def updates(optimizer) -> int:
    """How often an optimizer stepped."""
    return int(max(state["step"] for state in optimizer.state.values()))


def timed(contestant, start, X, y, args):
    """(wall seconds, processor seconds) of one training, checked."""
    model = copy.deepcopy(start)
    train, count = contestant(model, X, y, args)
    wall, cpu = time.perf_counter(), time.process_time()
    train()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    wanted = args.epochs * math.ceil(len(X) / args.batch_size)
    assert count() == wanted, f"{contestant.__name__}: {count()} updates, not {wanted}"
    start.train()
    model.train()
    with torch.no_grad():
        before, after = (
            cross_entropy(net(X[:256]), y[:256]).item()
            for net in (copy.deepcopy(start), model)
        )
    assert after < before, f"{contestant.__name__} did not learn"
    return wall, cpu


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=2, help="passes in a round")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backbone", default="bundled/resnet10-patterns")
    parser.add_argument("--scratch", action="store_true", help="random weights")
    parser.add_argument("--fastai", metavar="FOLDER", help="where fastai is installed")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    contestants = [plain, plain_loader, course, trainer]
    versions = {"torch": torch.__version__}
    if args.fastai:
        sys.path.append(args.fastai)  # behind the course's own packages
        import fastai as library

        versions["fastai"] = library.__version__
        contestants.append(fastai)
    import transformers

    versions["transformers"] = transformers.__version__
    wafers = datasets.load("wafer_micrographs", "train")
    backbone = zoo.load(args.backbone, 5, pretrained=not args.scratch)
    X = backbone.preprocess(wafers.images)
    y = torch.as_tensor(wafers.labels)
    images = args.epochs * len(X)
    cores = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count()))(0)
    print(
        f"{args.backbone}{' (random weights)' * args.scratch}, {len(X)} pictures, "
        f"batch {args.batch_size}, {args.epochs} passes a run, {args.threads} threads "
        f"on {len(cores)} cores, load {os.getloadavg()[0]:.1f}; "
        + ", ".join(f"{k} {v}" for k, v in versions.items())
    )
    seconds = np.empty((args.rounds, len(contestants), 2))
    for round_ in range(-1, args.rounds):  # the first warms up
        order = np.roll(range(len(contestants)), round_)[:: 1 - 2 * (round_ % 2)]
        for i in order:
            seconds[max(0, round_), i] = timed(
                contestants[i], backbone.model, X, y, args
            )
    speed = images / seconds  # (rounds, contestants, wall and processor)
    ratio = speed / speed[:, :1]
    low, middle, high = np.quantile(ratio, (0.25, 0.5, 0.75), axis=0)
    print(f"{'':20}{'images/s':>9}{'ratio to plain, wall':>26}{'processor time':>26}")
    for i, contestant in enumerate(contestants):
        spread = [
            f"{middle[i, k]:.3f} ({low[i, k]:.3f} to {high[i, k]:.3f})" for k in (0, 1)
        ]
        name = contestant.__name__.replace("_", ", ").replace("loader", "DataLoader")
        print(
            f"{name:20}{np.median(speed[:, i, 0]):9.0f}{spread[0]:>26}{spread[1]:>26}"
        )


if __name__ == "__main__":
    main()
