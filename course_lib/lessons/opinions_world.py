"""The real world's protocol for texts: opinions of four domains, and MiniLM.

Negative or positive, one domain at a time.  Labels are counted a class and drawn anew
for each seed, and everything that a learner would choose with labels is chosen inside
these: the penalty of a logistic regression by three-fold cross-validation.  Groups of
near-duplicates, and the sentences of one review or editorial, lie on one side of the
split.

Accuracy is balanced, the mean of the two classes' own, on 300 test texts of each class,
the same ones for every seed.
"""

from functools import lru_cache

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from torch.nn.functional import normalize

from course_lib import datasets
from course_lib.analysis import probes
from course_lib.datasets import opinions
from course_lib.lessons.results import experiment
from course_lib.models import features, zoo

FILES = ("assets/opinions", "near_duplicates.npz")
DOMAINS = tuple(opinions.DOMAINS)
COUNTS = (8, 32, 100, 400)  # labels a class; films have 1,000 too
TESTED = 300  # test texts of each class
DESCRIBED = (  # written once, before they were scored
    "A negative opinion: the writer is unhappy with it.",
    "A positive opinion: the writer is happy with it.",
)


def rows(data, n, seed):
    """Places of n texts of each class, drawn by the seed; the first m serve m."""
    rng = np.random.default_rng(seed)
    places = [np.flatnonzero(data.labels == c) for c in range(len(data.classes))]
    drawn = [rng.permutation(at)[:n] for at in places]
    return np.stack(drawn, axis=1).ravel()  # classes take turns


def texts(domain, split):
    """All labelled texts of a domain's split."""
    return datasets.load(f"opinions/{domain}", split)


def labelled(domain, n, seed):
    """n training texts of each class."""
    data = texts(domain, "train")
    return data.subset(rows(data, n, seed))


def tested(domain):
    """The 600 test texts that every accuracy of a domain is counted on."""
    data = texts(domain, "test")
    return data.subset(rows(data, TESTED, 0))


def unlabelled(domain):
    """The texts of the training part, rated clearly or not, without a label."""
    return (*texts(domain, "train").texts, *texts(domain, "unlabelled").texts)


# -- what does not learn ----------------------------------------------------------


@lru_cache(maxsize=8)
def represented(domain, split):
    """Vectors (N, 384) of the frozen encoder, of all training or the tested texts."""
    data = tested(domain) if split == "test" else texts(domain, split)
    return features.extract(zoo.load("minilm"), data.texts)


def regression(X, y, T, t, seed=0):
    """Balanced accuracy of a logistic regression; penalty by cross-validation in X."""
    return probes.linear_probe(X, y, T, t, seed=seed).balanced_accuracy


def frozen(domain, n, seed):
    """Logistic regression on the frozen encoder's vectors of n texts a class."""
    data, test = texts(domain, "train"), tested(domain)
    at = rows(data, n, seed)
    X, T = represented(domain, "train")[at], represented(domain, "test")
    return regression(X, data.labels[at], T, test.labels, seed)


def by_words(train, test, seed):
    """Words and pairs of words, weighted (TF-IDF), and logistic regression."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = make_pipeline(words, LogisticRegression(max_iter=2000))
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    penalties = dict(logisticregression__C=[1.0, 10.0, 100.0])
    search = GridSearchCV(model, penalties, cv=folds).fit(train.texts, train.labels)
    return balanced_accuracy_score(test.labels, search.predict(test.texts))


def counted(domain, n, seed):
    """The words of n texts a class, counted."""
    return by_words(labelled(domain, n, seed), tested(domain), seed)


def zero_shot(domain):
    """The nearer of two sentences that describe the classes, by cosine."""
    T = represented(domain, "test")
    D = features.extract(zoo.load("minilm"), DESCRIBED)
    T, D = (M / np.linalg.norm(M, axis=1, keepdims=True) for M in (T, D))
    return balanced_accuracy_score(tested(domain).labels, (T @ D.T).argmax(1))


def frozen_cells():
    """Ten seeds of each way at each number of labels; zero-shot has neither."""
    grid = []
    for domain in DOMAINS:
        grid.append(dict(domain=domain, way="zero-shot", labels=0, seed=0))
        more = (1000,) if domain == "films" else ()
        for way in ("word counts", "frozen"):
            for n in COUNTS + more:
                one = dict(domain=domain, way=way, labels=n)
                grid += [one | dict(seed=seed) for seed in range(10)]
    return grid


@experiment(
    "opinions_frozen",
    grid=frozen_cells(),
    sample=[dict(domain="products", way="word counts", labels=100, seed=0)],
    live={"07": ("accuracy",)},
    tolerance={"accuracy": 0.02},
    data=FILES,
)
def opinions_frozen(domain, way, labels, seed):
    """Balanced accuracy of a way that leaves the encoder as it is, or needs none."""
    if way == "zero-shot":
        return {"accuracy": zero_shot(domain)}
    found = counted if way == "word counts" else frozen
    return {"accuracy": found(domain, labels, seed)}


# -- the encoder learns -----------------------------------------------------------


def trained(encoder, loss_of, batches, steps, lr):
    """Updates of an encoder: AdamW, warm-up over a tenth, then linear decay."""
    from transformers import get_linear_schedule_with_warmup

    optimizer = torch.optim.AdamW(encoder.parameters(), lr=lr, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    encoder.train()
    losses = []
    for _ in range(steps):
        loss = loss_of(next(batches))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    encoder.eval()
    return losses


def contrastive_loss(vectors, labels):
    """Mean over all pairs of (cosine - 1 if of one class, else - 0) squared.

    vectors (N, F), labels (N,): N (N - 1) / 2 pairs out of N texts.  The loss of SetFit
    (Tunstall et al. 2022).
    """
    U = normalize(vectors, dim=1)
    same = (labels[:, None] == labels[None, :]).float()  # (N, N)
    i, j = torch.triu_indices(len(U), len(U), offset=1)
    return ((U @ U.T - same)[i, j] ** 2).mean()


def balanced_rows(labels, seed, each=8):
    """Rows of ``each`` texts of both classes for batches, for ever."""
    generator = torch.Generator().manual_seed(seed)
    places = [np.flatnonzero(np.asarray(labels) == c) for c in (0, 1)]
    while True:
        mixed = [at[torch.randperm(len(at), generator=generator)] for at in places]
        for start in range(0, len(places[0]) - each + 1, each):
            yield np.concatenate([at[start : start + each] for at in mixed]).tolist()
