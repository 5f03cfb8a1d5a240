"""Grid of lesson 13: the decision framework on situations that it was not made from.

The framework's thresholds come from 25, 100 and 500 labels (lessons 03 and 12); here it
meets the four targets with 50 and 250.  Three ways are run in each: a probe on frozen
features of all stages, all layers from the pretrained start, all layers from a random
start; rates, updates and augmentation are those of lesson 06.  Nobody who has n labels
has 900 more to choose by: the validation set has n / 2 pictures, and checkpoints,
penalties and the framework's question are decided on these.
"""

import numpy as np

from course_lib import datasets, training
from course_lib.analysis import probes
from course_lib.lessons import lesson06, results
from course_lib.lessons.protocol import BACKBONE
from course_lib.lessons.results import SEEDS, experiment
from course_lib.models import features
from course_lib.show import plots

LABELS = (50, 250)
WAYS = ("probe", "tuned", "scratch")


@experiment(
    "decisions",
    grid=[
        dict(target=target, labels=labels, seed=seed)
        for labels in LABELS
        for target in lesson06.TARGETS
        for seed in SEEDS
    ],
    sample=[dict(target="digits", labels=50, seed=0)],
    short=[dict(target="digits", labels=50, seed=0, fraction=0.05)],
    tolerance={f"{part}{way}": 0.06 for way in WAYS for part in ("", "val_")},
    models=(BACKBONE,),
    data=lesson06.FILES,
)
def decisions(target, labels, seed, fraction=1.0):
    """Test and validation accuracy of the three ways in one situation."""
    splits = {s: datasets.load(target, s) for s in ("train", "validation", "test")}
    train = splits["train"].take(labels, seed=seed)
    validation = splits["validation"].take(labels // 2, seed=seed)
    test, found = results.part(splits["test"], fraction), {}
    backbone = lesson06.load_source(BACKBONE)
    X, V, T = (all_stages(backbone, part) for part in (train, validation, test))
    probe = probes.linear_probe(
        X, train.labels, T, test.labels, val=(V, validation.labels), seed=seed
    )
    chosen = probes.linear_probe(
        X, train.labels, V, validation.labels, C=probe.C, seed=seed
    )
    found["probe"], found["val_probe"] = probe.accuracy, chosen.accuracy
    for way, source in (("tuned", BACKBONE), ("scratch", "random")):
        net = lesson06.load_source(source, len(train.classes), seed)
        options = dict(lr=lesson06.chosen_rate(source, target), seed=seed)
        history = lesson06.fine_tune(
            net, train, validation, fraction=fraction, **options
        )
        tested = training.evaluate(net, test)
        found[way], found[f"loss_{way}"] = tested["accuracy"], tested["loss"]
        found[f"val_{way}"] = history.val_accuracy[history.best_epoch]
    return found


def all_stages(backbone, data):
    """Pooled features of every stage side by side, (N, F)."""
    stages = [features.extract(backbone, data, stage) for stage in backbone.stages]
    return np.concatenate(stages, axis=1)


OPEN = {"pending": "open"}  # a verdict that was withdrawn, or not yet reached


def ledger_figure(lessons, counts, verdicts):
    """Bars of claims by lesson; counts: (verdicts, lessons)."""
    fig, axes = plots.new(height=3.4)
    left = np.zeros(len(lessons))
    for row, name, colour in zip(counts, verdicts, plots.COLOURS):
        axes.bar(
            lessons,
            row,
            bottom=left,
            label=f"{OPEN.get(name, name)} ({row.sum()})",
            color=colour,
            hatch={"qualified": "//", "refuted": "xx", "cited": ".."}.get(name),
            edgecolor="white",
        )
        left += row
    axes.set_xlabel("lesson")
    axes.set_ylabel("claims")
    axes.set_title(f"Of {counts.sum()} claims {counts[0].sum()} came out as told")
    axes.set_ylim(0, 10.5)
    axes.legend(ncols=5, fontsize=8, loc="upper center")
    return fig
