"""How well does the text encoder do on texts that nobody here has seen?

    python benchmarks/real_texts.py FILE.csv [--labels 20] [--splits 3] [--fine-tune]

FILE has the columns `text` and `label`; where it also has `split`, its rows "train"
are drawn from and its rows "test" tested, otherwise all rows that are not drawn are.
Test texts that also stand among the others are left out.  For each split, `--labels`
texts of each class are drawn; prints the balanced accuracy of TF-IDF with logistic
regression, of the frozen encoder with logistic regression and, with `--fine-tune`, of
the whole encoder trained by the recipe of lesson 07.  Nothing is chosen on the test
texts: C comes from cross-validation on the drawn ones; the rate of fine-tuning from
the first draw, four fifths of it to train, one to validate.
"""

import argparse

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from course_lib import datasets, training
from course_lib.analysis import probes, statistics
from course_lib.models import features, text, zoo
from course_lib.training import hf_trainer

RATES = (1.5e-4, 5e-4)


def drawn(data, labels, seed):
    """Rows for training, ``labels`` of each class among those that may be drawn."""
    rng = np.random.default_rng(seed)
    splits = data.metadata.get("split")
    may = np.ones(len(data), bool) if splits is None else splits == "train"
    rows = [np.flatnonzero(may & (data.labels == c)) for c in range(len(data.classes))]
    return np.concatenate([rng.permutation(some)[:labels] for some in rows])


def tested(data, chosen):
    """Rows for the test: none whose text stands among the other rows."""
    splits = data.metadata.get("split")
    rest = (
        ~np.isin(np.arange(len(data)), chosen) if splits is None else splits == "test"
    )
    known = {data.texts[i] for i in np.flatnonzero(~rest)}
    return np.array([i for i in np.flatnonzero(rest) if data.texts[i] not in known])


def tfidf(train, test):
    """Words and pairs of words, C by cross-validation."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    regression = LogisticRegression(max_iter=2000)
    search = GridSearchCV(regression, {"C": (1.0, 10.0, 100.0)}, cv=3)
    model = make_pipeline(words, search).fit(train.texts, train.labels)
    return training.balanced_accuracy(model.predict(test.texts), test.labels)


def fine_tuned(train, test, lr, seed, epochs):
    """The recipe of lesson 07 on all drawn texts."""
    backbone = zoo.load("minilm", len(train.classes), seed=seed)
    hf_trainer.fit(backbone, train, epochs=epochs, lr=lr, seed=seed)
    predicted = text.predict(backbone, test.texts).argmax(1)
    return training.balanced_accuracy(predicted, test.labels)


def main():
    """Read the file, run the splits, print one line a method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--labels", type=int, default=20)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--fine-tune", action="store_true")
    args = parser.parse_args()
    data = datasets.texts_from_csv(args.file)
    draws = [drawn(data, args.labels, seed) for seed in range(args.splits)]
    tests = [tested(data, rows) for rows in draws]
    parts = [(data.subset(a), data.subset(b)) for a, b in zip(draws, tests)]
    print(
        f"{len(data.classes)} classes, {args.labels} labels each, "
        f"{len(parts[0][1]):,} test texts, {args.splits} draws"
    )

    def show(name, scores):
        print(f"{name:34} {statistics.mean_and_interval(scores)}", flush=True)

    show("TF-IDF, logistic regression", [tfidf(*part) for part in parts])
    encoder = zoo.load("minilm")
    F = features.extract(encoder, data.texts)
    scores = []
    for rows, rest in zip(draws, tests):
        pieces = (F[rows], data.labels[rows], F[rest], data.labels[rest])
        scores.append(probes.linear_probe(*pieces).balanced_accuracy)
    show("frozen encoder, logistic regression", scores)
    if args.fine_tune:
        inner = np.arange(len(parts[0][0])) % 5 == 0
        fit = parts[0][0].subset(np.flatnonzero(~inner))
        check = parts[0][0].subset(np.flatnonzero(inner))
        tried = {lr: fine_tuned(fit, check, lr, 0, args.epochs) for lr in RATES}
        lr = max(tried, key=tried.get)
        scores = [
            fine_tuned(*part, lr, seed, args.epochs) for seed, part in enumerate(parts)
        ]
        show(f"fine-tuned, {args.epochs} epochs, rate {lr:g}", scores)


if __name__ == "__main__":
    main()
