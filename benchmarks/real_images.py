"""How well does a bundled backbone do on pictures that nobody here has seen?

    python benchmarks/real_images.py PICTURES [--labels 20] [--splits 5]
        [--fine-tune [--plain]]

PICTURES is a folder with one subfolder a class, or an .npz with `x` (N, H, W) or
(N, H, W, 3) uint8 and `y` (N,) integers.  For each split, `--labels` pictures of each
class are drawn for training, the rest is the test set; prints the balanced accuracy of
frozen features (of the last stage, and of all stages side by side) with logistic
regression, for pretrained and for random weights, and with `--fine-tune` of all layers
trained, from pretrained and from random weights, on turned and shifted pictures or,
with `--plain`, on the pictures as they are.  No setting is chosen on the test
pictures: C comes from cross-validation on the training ones, and the learning rate of
each start from the training pictures of split 0, four fifths of them to train, one to
validate.
"""

import argparse
from pathlib import Path

import numpy as np

from course_lib import datasets, training
from course_lib.analysis import probes, statistics
from course_lib.models import features, zoo

RATES = (3e-4, 1e-3, 3e-3)
AUGMENT = training.compose(training.random_dihedral(), training.random_crop(4))


def read(path, size):
    path = Path(path)
    if path.is_dir():
        return datasets.from_folder(path, size=size)
    with np.load(path, allow_pickle=False) as stored:
        x, y = stored["x"], stored["y"].astype(np.int64)
    if x.ndim == 3:
        x = np.repeat(x[..., None], 3, axis=3)
    return datasets.from_arrays(x, y, name=path.stem)


def chosen_rows(data, labels, seed):
    """Rows for training, `labels` of each class, and all other rows."""
    rng = np.random.default_rng(seed)
    by_class = [np.flatnonzero(data.labels == c) for c in range(len(data.classes))]
    chosen = np.concatenate([rng.permutation(rows)[:labels] for rows in by_class])
    return chosen, np.setdiff1d(np.arange(len(data)), chosen)


def split(data, labels, seed):
    """(training part with `labels` pictures a class, the rest)."""
    chosen, rest = chosen_rows(data, labels, seed)
    return data.subset(chosen), data.subset(rest)


def frozen(backbone, data, stages, args):
    """Balanced accuracy of each split: cached features, logistic regression."""
    F = np.hstack([features.extract(backbone, data, module=s) for s in stages])
    y = data.labels
    scores = []
    for seed in range(args.splits):
        chosen, rest = chosen_rows(data, args.labels, seed)
        probe = probes.linear_probe(F[chosen], y[chosen], F[rest], y[rest], seed=seed)
        scores.append(probe.balanced_accuracy)
    return scores


def trained(args, pretrained, train, val, lr, seed):
    backbone = zoo.load(
        args.backbone, len(train.classes), seed=seed, pretrained=pretrained
    )
    training.fit(
        backbone,
        train,
        val,
        steps=args.steps,
        lr=lr,
        seed=seed,
        recipe=training.Recipe(augment=None if args.plain else AUGMENT),
    )
    return backbone


def best_rate(args, pretrained, data):
    """Learning rate by accuracy on a fifth of the training pictures of split 0."""
    part, _ = split(data, args.labels, 0)
    inner, held_out = split(part, round(0.8 * args.labels), 0)
    scores = {
        lr: training.evaluate(trained(args, pretrained, inner, None, lr, 0), held_out)
        for lr in RATES
    }
    return min(RATES, key=lambda lr: scores[lr]["loss"])


def fine_tuned(args, pretrained, data):
    lr = best_rate(args, pretrained, data)
    scores = []
    for seed in range(args.splits):
        train, rest = split(data, args.labels, seed)
        backbone = trained(args, pretrained, train, None, lr, seed)
        scores.append(training.evaluate(backbone, rest)["balanced_accuracy"])
    return lr, scores


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures")
    parser.add_argument("--backbone", default="bundled/resnet10-patterns")
    parser.add_argument("--labels", type=int, default=20, help="labels a class")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--size", type=int, default=96, help="of a folder's pictures")
    parser.add_argument("--steps", type=int, default=150, help="updates of fine-tuning")
    parser.add_argument("--fine-tune", action="store_true")
    parser.add_argument("--plain", action="store_true", help="no turns and shifts")
    args = parser.parse_args()
    data = read(args.pictures, args.size)
    print(
        f"{len(data)} pictures, {len(data.classes)} classes, {args.labels} labels each"
    )
    for pretrained in (True, False):
        backbone = zoo.load(args.backbone, pretrained=pretrained)
        start = "pretrained" if pretrained else "random"
        for which, stages in {
            "last stage": [None],
            "all stages": backbone.stages,
        }.items():
            scores = statistics.mean_and_interval(frozen(backbone, data, stages, args))
            print(f"frozen {which}, {start} weights: {scores}", flush=True)
    for pretrained in (True, False) if args.fine_tune else ():
        lr, scores = fine_tuned(args, pretrained, data)
        start = "pretrained" if pretrained else "random"
        print(
            f"all layers, from {start} weights (lr {lr:g}): "
            f"{statistics.mean_and_interval(scores)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
