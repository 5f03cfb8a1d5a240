"""Is `course diagnose` right on texts where the answer is known?  Planted cases.

    python benchmarks/diagnose_texts.py [--cases NAME ...]

The rule was written before any case had been run: "right" where the verdict is the
expected one; "undecided" where it is no evidence or no difference and a gain or a loss
was expected; else "wrong".  It must never say "helps" where it hurts.  Beside the
verdict stands what a case truly is, by other code on other texts: frozen features of
the last layer against counted words, a logistic regression on each, six draws of
labels.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from course_lib import datasets
from course_lib.analysis.statistics import paired_difference
from course_lib.datasets.texts import TextDataset
from course_lib.diagnose.diagnosis import Settings, diagnose
from course_lib.diagnose.modality import TEXTS
from course_lib.models import zoo

MATTERS, STEPS, REPEATS, DRAWS = 0.05, 10, (3, 3), 6
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def tweets(split: str, n: int) -> TextDataset:
    """Short tweets, positive or negative, as many of each."""
    data = datasets.opinions.load("tweets", split)
    short = np.array([len(text) <= 60 for text in data.texts])
    return replace(data.subset(short), metadata={}).take(n_per_class=n // 2, seed=0)


def random_labels(data, share: float, seed: int):
    """The same texts, a share of whose labels is drawn anew."""
    rng = np.random.default_rng(seed)
    drawn = rng.random(len(data)) < share
    return replace(
        data, labels=np.where(drawn, rng.integers(0, 2, len(data)), data.labels)
    )


def capitals(data, seed: int):
    """Is the text written in capitals?  An encoder of lower case cannot see it."""
    labels = np.random.default_rng(seed).permutation(np.arange(len(data)) % 2)
    texts = tuple(
        text.upper() if label else text.lower()
        for text, label in zip(data.texts, labels)
    )
    return replace(data, texts=texts, labels=labels, classes=("lower", "upper"))


def letters(n: int, seed: int) -> TextDataset:
    """Words of random letters; in one class one of them holds "qz"."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    texts = []
    for label in labels:
        words = ["".join(rng.choice(LETTERS, 6)) for _ in range(5)]
        if label:
            words[rng.integers(5)] = (
                "".join(rng.choice(LETTERS, 2)) + "qz" + "".join(rng.choice(LETTERS, 2))
            )
        texts.append(" ".join(words))
    return TextDataset(tuple(texts), labels, ("without", "with"), "letters")


CASES = {  # name: (data of a seed, labels a class, random weights?, expected)
    "sentiment, 20 labels": ("sentiment", 20, False, +1),
    "sentiment, 8 labels": ("sentiment", 8, False, +1),
    "sentiment, a quarter of the labels random": ("noisy", 20, False, +1),
    "labels at random": ("random", 20, False, 0),
    "random weights called pretrained": ("sentiment", 20, True, 0),
    "capitals": ("capitals", 20, False, -1),
    "letters inside of words": ("letters", 20, False, -1),
}


def data_of(kind: str, split: str, n: int):
    """The texts of a case: split "train" to diagnose, "test" for what it truly is."""
    seed = ("train", "test").index(split)
    if kind == "letters":
        return letters(n, seed)
    data = tweets(split, n)
    made = {"noisy": (random_labels, 0.25), "random": (random_labels, 1.0)}
    if kind in made:
        change, share = made[kind]
        return change(data, share, seed)
    return capitals(data, seed) if kind == "capitals" else data


def truth(case: str):
    """The interval of the gain of frozen features over counted words."""
    kind, labels, random, _ = CASES[case]
    data = data_of(kind, "test", 300)  # as many short tweets as there are
    backbone = zoo.load("minilm", seed=4321, pretrained=not random)
    X = list(TEXTS.features(backbone, data.texts).values())[-1]
    texts, right = np.array(data.texts), {"frozen": [], "counted": []}
    for seed in range(DRAWS):
        order = np.random.default_rng(seed).permutation(len(data))
        train = np.concatenate(
            [order[data.labels[order] == k][:labels] for k in (0, 1)]
        )
        test = np.setdiff1d(order, train)
        sides = {
            "frozen": (make_pipeline(StandardScaler(), logistic()), X),
            "counted": (make_pipeline(characters(), logistic()), texts),
        }
        for side, (model, Z) in sides.items():
            model.fit(Z[train], data.labels[train])
            right[side].append(model.score(Z[test], data.labels[test]))
    return paired_difference(*map(np.array, right.values()))


def logistic():
    return LogisticRegressionCV(
        Cs=[1e-3, 1e-1, 10.0, 1000.0], cv=3, l1_ratios=(0.0,), max_iter=2000,
        scoring="accuracy",
        use_legacy_attributes=False,
    )  # fmt: skip


def characters():
    return TfidfVectorizer(analyzer="char", ngram_range=(1, 4), lowercase=False)


def judged(code: int, expected: int) -> str:
    """By the rule at the top."""
    if code == expected:
        return "right"
    return "undecided" if code == 0 else "WRONG"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    wrong = 0
    for case in parser.parse_args().cases:
        kind, labels, random, expected = CASES[case]
        settings = Settings(
            labels_per_class=labels, steps=STEPS, repeats=REPEATS, rates=(3e-4,),
            matters=MATTERS,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            found = diagnose(
                zoo.load("minilm", seed=4321, pretrained=not random),
                data_of(kind, "train", 400),
                settings, folder=folder, progress=False,
            )  # fmt: skip
        real, gain = truth(case), found.gains["transfer"]
        said = judged(found.code, expected)
        wrong += said == "WRONG"
        half = 50 * (real.high - real.low)
        shown = f"{100 * gain['mean']:+5.1f} ± {100 * gain['half_width']:4.1f}"
        print(
            f"{case:43} truly {100 * real.mean:+5.1f} ± {half:4.1f}  "
            f"diagnosed {shown} {found.kind:14} {said}; use "
            f"{found.recommended['arm']}, without: {found.chosen['without']['arm']}",
            flush=True,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
