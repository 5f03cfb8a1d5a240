"""The real world of lessons 08 and 09: MiniLM learns what film reviews think.

Sentences of at most 20 tokens, negative or positive (`datasets.opinions`, films).  A
run sees 400 sentences of each class once: 50 updates of 16, about one length a batch.
Labels are drawn anew for each seed, and so are the 400 test sentences.

Every method starts from the same head, a logistic regression on frozen features, which
goes on learning at a rate of its own.  So a difference to "probe" is what the encoder's
change adds.  AdamW without weight decay, warm-up over 10 % and linear decay; the last
weights are scored.  Rates are a factor of about three apart; the lowest mean validation
loss over five seeds chooses one for each method.  Full fine-tuning's was the lowest, so
three seeds tried a lower one.

What MiniLM could do before is kept as well.  It puts sentences of one meaning side by
side, so ``source`` asks for product reviews: of 200 sentences, how many have their
nearest neighbour in the same review?
"""

from functools import lru_cache

import numpy as np
import torch
from scipy.special import log_softmax

from course_lib import datasets
from course_lib.lessons import opinions_world, results
from course_lib.lessons.results import experiment
from course_lib.methods import lora, peft_family
from course_lib.models import features, text, zoo
from course_lib.training import hf_trainer

FILES = ("assets/opinions", "near_duplicates.npz")
LONGEST = 20  # tokens
LABELS, TESTED = 400, 200  # of each class
STEPS = 50  # one pass
SOURCE = 200  # sentences of product reviews
HEAD_RATE = 1e-3
ALPHA = 16.0
SHORTER = 0.08  # of a short cell: four updates
PENALTIES = tuple(10.0**k for k in range(-4, 2))  # C of the logistic regression


# -- data -----------------------------------------------------------------------------


@lru_cache(maxsize=3)
def sentences(split):
    """The sentences of at most LONGEST tokens."""
    data, encoder = datasets.load("opinions/films", split), zoo.load("minilm")
    return data.subset(np.flatnonzero(lengths(encoder, data) <= LONGEST))


@lru_cache(maxsize=2)
def short(split):
    """(these sentences, their frozen features (N, 384))."""
    data = sentences(split)
    return data, features.extract(zoo.load("minilm"), data.texts)


def lengths(encoder, data):
    """Tokens of each text, the two special ones counted."""
    return text.token_lengths(encoder, data.texts)


def rows(split, n, seed):
    """Places of n short sentences of each class of a split, drawn by the seed."""
    in_turn = opinions_world.rows(sentences(split), n, seed)
    return in_turn.reshape(n, 2).T.ravel()  # one class, then the other


def labelled(seed):
    """The training sentences of a seed."""
    return sentences("train").subset(rows("train", LABELS, seed))


def tested(seed):
    """The test sentences of a seed."""
    return sentences("test").subset(rows("test", TESTED, seed))


@lru_cache(maxsize=1)
def reviews():
    """SOURCE sentences of whole product reviews, and the review of each."""
    data = datasets.load("opinions/products", "test")
    review = np.array([name.partition("_")[0] for name in data.metadata["id"]])
    at: list[int] = []
    for one in np.random.default_rng(0).permutation(np.unique(review)):
        at += np.flatnonzero(review == one).tolist()
    at = at[:SOURCE]
    return data.subset(np.array(at)), review[at]


# -- a run ----------------------------------------------------------------------------


def probed_on(seed, fraction=1.0):
    """((features, labels) to fit a head on, the same of validation).

    A short cell has a fifth of the first, and a part of the second.
    """
    if fraction == 1:
        (data, X), (held, V) = short("train"), short("validation")
        at = rows("train", LABELS, seed)
        return (X[at], data.labels[at]), (V, held.labels)
    few = sentences("train").subset(rows("train", LABELS // 5, seed))
    held, encoder = results.part(sentences("validation"), fraction), zoo.load("minilm")
    return [(features.extract(encoder, d.texts), d.labels) for d in (few, held)]


@lru_cache(maxsize=8)
def probe_head(seed, fraction=1.0):
    """Weight (2, 384) and bias (2,) of a logistic regression on frozen features.

    Its penalty is the one of the lowest validation loss.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    (X, y), (V, v) = probed_on(seed, fraction)
    scale, tried = X.std(), []  # one for all: some features hardly vary
    for C in PENALTIES:
        model = LogisticRegression(C=C, max_iter=2000)
        model.fit(X / scale, y)
        tried.append((log_loss(v, model.predict_proba(V / scale)), C, model))
    model = min(tried, key=lambda one: one[:2])[2]
    w, b = model.coef_[0] / scale, model.intercept_[0]
    weight, bias = np.stack([-w, w]) / 2, np.array([-b, b]) / 2
    return tuple(torch.tensor(part, dtype=torch.float32) for part in (weight, bias))


def started(seed, fraction=1.0):
    """MiniLM with the head that logistic regression finds on its frozen features."""
    backbone = zoo.load("minilm", 2, seed=seed)
    with torch.no_grad():
        for parameter, value in zip(
            backbone.model.head.parameters(), probe_head(seed, fraction), strict=True
        ):
            parameter.copy_(value)
    return backbone


def groups(backbone, lr, plus=1.0, head=HEAD_RATE):
    """Parameter groups: the head has its own rate, B ``plus`` times the others'."""
    found = {"head.": [head, []], ".B": [plus * lr, []], "": [lr, []]}
    for name, parameter in backbone.model.named_parameters():
        if parameter.requires_grad:
            kinds = (name.startswith("head."), name.endswith(".B"), True)
            kind = list(found)[kinds.index(True)]
            found[kind][1].append(parameter)
    return [
        dict(params=params, lr=rate, weight_decay=0.0)
        for rate, params in found.values()
        if params
    ]


def tuned(backbone, seed, parameter_groups, fraction=1.0):
    """One pass over the sentences of a seed."""
    recipe = hf_trainer.TrainerRecipe(
        groups=parameter_groups,
        arguments=dict(train_sampling_strategy="group_by_length"),
    )
    steps = results.updates(STEPS, fraction)
    hf_trainer.fit(backbone, labelled(seed), steps=steps, seed=seed, recipe=recipe)
    return backbone


# -- what is measured -----------------------------------------------------------------


def loss_and_accuracy(logits, labels):
    """Mean cross-entropy in nats, and the mean of the two classes' accuracies."""
    right = logits.argmax(1) == labels
    each = [right[labels == c].mean() for c in (0, 1)]
    return -log_softmax(logits, 1)[np.arange(len(labels)), labels].mean(), np.mean(each)


def scored(backbone, seed, fraction=1.0):
    """Loss and balanced accuracy on test and validation sentences."""
    numbers = {}
    for prefix, data in (("", tested(seed)), ("val_", sentences("validation"))):
        data = results.part(data, fraction)
        found = loss_and_accuracy(text.predict(backbone, data.texts), data.labels)
        numbers[f"{prefix}loss"], numbers[f"{prefix}accuracy"] = found
    return numbers


def cosines(backbone, n=SOURCE):
    """Cosines (n, n) between the first n sentences of product reviews."""
    vectors = features.extract(backbone, reviews()[0].texts[:n])
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


@lru_cache(maxsize=1)
def original_cosines(n=SOURCE):
    """Those of MiniLM as it came."""
    return cosines(zoo.load("minilm"), n)


def remembered(backbone, fraction=1.0):
    """What is left of MiniLM's own skill; a short cell asks half the sentences.

    ``source``: share of sentences whose nearest neighbour is of the same review.
    ``similarity``: correlation of the cosines of all pairs with the original ones.
    """
    n = SOURCE if fraction == 1 else SOURCE // 2
    now, review = cosines(backbone, n), reviews()[1][:n]
    pairs = np.triu_indices(n, 1)
    same = np.corrcoef(now[pairs], original_cosines(n)[pairs])[0, 1]
    np.fill_diagonal(now, -np.inf)
    return {
        "source": (review[now.argmax(1)] == review).mean(),
        "similarity": same,
    }


ENERGY = (1, 8, 64)  # ranks


def spectrum(start, end, names):
    """Share of the squared singular values of the update up to each rank, a mean."""
    shares = []
    for name in names:
        squared = torch.linalg.svdvals(end[name] - start[name]).square()
        shares.append(squared.cumsum(0) / squared.sum())
    mean = torch.stack(shares).mean(0)  # (384,)
    return {f"energy_{r}": float(mean[r - 1]) for r in ENERGY}


# -- the grid of lesson 08 ------------------------------------------------------------

KINDS = {"lora": dict(r=8)}  # beside every linear layer
SWEPT = {  # rates compared over all five seeds
    "full": (1e-4, 3e-4, 1e-3),
    "lora": (3e-4, 1e-3, 3e-3, 1e-2),
}
LOWER, LOWER_SEEDS = 3e-5, (0, 1, 3)  # of full fine-tuning: is its best rate lower?
ALL_SEEDS = range(5)


def lora_cells():
    """The frozen encoder, then each method at its rates."""
    ways = [("probe", 0.0, ALL_SEEDS)]
    for method, rates in SWEPT.items():
        ways += [(method, lr, ALL_SEEDS) for lr in rates]
    ways.append(("full", LOWER, LOWER_SEEDS))
    return [
        dict(method=method, lr=lr, seed=seed)
        for method, lr, seeds in ways
        for seed in seeds
    ]


def put(backbone, method, seed):
    """Full fine-tuning, or LoRA beside every linear layer; the head learns too."""
    if method == "full":
        return peft_family.full(backbone)
    names = peft_family.linear_layers(backbone)
    options = dict(alpha=ALPHA, train=backbone.heads, seed=seed)
    return lora.inject(backbone, names, **KINDS[method], **options)


@experiment(
    "opinions_lora",
    grid=lora_cells(),
    sample=[dict(method="lora", lr=1e-3, seed=0)],
    short=[
        dict(method=method, lr=lr, seed=0, fraction=SHORTER)
        for method, lr in (("full", 1e-4), ("lora", 1e-3))
    ],
    tolerance={
        "accuracy": 0.02,
        "val_accuracy": 0.02,
        "loss": 0.02,
        "val_loss": 0.02,
        "source": 0.02,
        "similarity": 0.01,
    },
    data=FILES,
)
def opinions_lora(method, lr, seed, fraction=1.0):
    """One method on short film reviews: what it gains there, and what it forgets."""
    backbone = started(seed, fraction)
    if method == "probe":
        return scored(backbone, seed, fraction) | remembered(backbone, fraction)
    put(backbone, method, seed)
    start = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    plus = KINDS.get(method, {}).get("plus", 1.0)
    tuned(backbone, seed, groups(backbone, lr, plus), fraction)
    numbers = scored(backbone, seed, fraction) | remembered(backbone, fraction)
    if method == "full":
        names = [f"{name}.weight" for name in peft_family.linear_layers(backbone)]
        names = names if fraction == 1 else names[:6]
        numbers |= spectrum(start, backbone.model.state_dict(), names)
    learning = peft_family.trained_state(backbone).values()
    return numbers | {"trainable": sum(value.numel() for value in learning)}


# -- what lessons read ----------------------------------------------------------------


def swept(method):
    """The rows of a method at the rates that all five seeds compared."""
    rows = results.load("opinions_lora").select(method=method)
    return rows.select(lr=SWEPT[method]) if method in SWEPT else rows


def compared():
    """The rows of full fine-tuning and LoRA at these rates."""
    return swept("full") + swept("lora")


def best(method):
    """The rows of a method, one a seed, at the rate of the lowest validation loss.

    That is the lowest mean over all five seeds.
    """
    rows = swept(method)
    rates = sorted({row["lr"] for row in rows})
    lr = min(rates, key=lambda lr: rows.values("val_loss", lr=lr).mean())
    return rows.select(lr=lr)


def lower():
    """The rows of full fine-tuning at a rate below these, three seeds."""
    return results.load("opinions_lora").select(method="full", lr=LOWER)


def best_rates(method):
    """The rate of the lowest validation loss of each seed, (5,)."""
    found = []
    for seed in ALL_SEEDS:
        rows = swept(method).select(seed=seed)
        found.append(min(rows, key=lambda row: row["val_loss"])["lr"])
    return np.array(found)
