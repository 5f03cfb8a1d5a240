"""Words and pieces of words, counted and weighed: the baseline of text classification.

A linear classifier on such counts needs no pretraining and is hard to beat where
single words decide (Wang & Manning 2012, "Baselines and Bigrams").
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

COUNTED = {  # settings of scikit-learn's TfidfVectorizer
    "words": dict(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b"),
    "characters": dict(analyzer="char_wb", ngram_range=(2, 5), lowercase=False),
}
PENALTIES = (0.1, 1.0, 10.0, 100.0)  # inverse; the rows of TF-IDF have length 1


class Counted(NamedTuple):
    """Probabilities (N, K) of held-out and of test texts, and the chosen C."""

    validated: np.ndarray
    tested: np.ndarray
    C: float


def counted(
    what: str,
    train: tuple[Sequence[str], np.ndarray],
    validation: tuple[Sequence[str], np.ndarray],
    test: Sequence[str],
) -> Counted:
    """TF-IDF of ``what`` ("words" or "characters") and a logistic regression.

    train, validation: (texts, labels).  Vocabulary and weights come from the training
    texts alone; C is the one with the highest validation accuracy, the strongest
    penalty among equals.  Deterministic.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    vectorizer = TfidfVectorizer(sublinear_tf=True, **COUNTED[what])
    try:
        X = vectorizer.fit_transform(train[0])
    except ValueError:  # not one word in any text
        level = np.full(len(np.unique(train[1])), 1 / len(np.unique(train[1])))
        return Counted(
            np.tile(level, (len(validation[0]), 1)), np.tile(level, (len(test), 1)), 0.0
        )
    Y, Z = vectorizer.transform(validation[0]), vectorizer.transform(test)
    with threadpool_limits(1, "blas"):  # too small to be shared by threads
        fitted = [
            LogisticRegression(C=C, max_iter=2000).fit(X, train[1]) for C in PENALTIES
        ]
    right = [(model.predict(Y) == validation[1]).sum() for model in fitted]
    best = fitted[int(np.argmax(right))]
    return Counted(best.predict_proba(Y), best.predict_proba(Z), best.C)
