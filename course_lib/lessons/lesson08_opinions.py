"""The real world of lesson 08: MiniLM learns what film reviews think.

Sentences of at most 20 tokens, negative or positive (`datasets.opinions`, films).  A
run sees 400 sentences of each class once: 50 updates of 16, about one length a batch.
Labels are drawn anew for each seed, and so are the 400 test sentences.

Every method starts from the same head, a logistic regression on frozen features, which
goes on learning at a rate of its own.  So a difference to the frozen encoder is what
its change adds.  AdamW without weight decay, warm-up over 10 % and linear decay; the
last weights are scored.
"""

from functools import lru_cache

import numpy as np
import torch
from scipy.special import log_softmax

from course_lib import datasets
from course_lib.lessons import opinions_world, results
from course_lib.models import features, text, zoo
from course_lib.training import hf_trainer

LONGEST = 20  # tokens
LABELS, TESTED = 400, 200  # of each class
STEPS = 50  # one pass
HEAD_RATE = 1e-3
PENALTIES = tuple(10.0**k for k in range(-4, 2))  # C of the logistic regression


# -- data -----------------------------------------------------------------------------


@lru_cache(maxsize=3)
def short(split):
    """(sentences of at most LONGEST tokens, their frozen features (N, 384))."""
    data, encoder = datasets.load("opinions/films", split), zoo.load("minilm")
    data = data.subset(np.flatnonzero(lengths(encoder, data) <= LONGEST))
    return data, features.extract(encoder, data.texts)


def lengths(encoder, data):
    """Tokens of each text, the two special ones counted."""
    return text.token_lengths(encoder, data.texts)


def rows(split, n, seed):
    """Places of n short sentences of each class of a split, drawn by the seed."""
    in_turn = opinions_world.rows(short(split)[0], n, seed)
    return in_turn.reshape(n, 2).T.ravel()  # one class, then the other


def labelled(seed):
    """The training sentences of a seed."""
    return short("train")[0].subset(rows("train", LABELS, seed))


def tested(seed):
    """The test sentences of a seed."""
    return short("test")[0].subset(rows("test", TESTED, seed))


# -- a run ----------------------------------------------------------------------------


@lru_cache(maxsize=8)
def probe_head(seed):
    """Weight (2, 384) and bias (2,) of a logistic regression on frozen features.

    Its penalty is the one of the lowest validation loss.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    (data, X), (held, V) = short("train"), short("validation")
    at, tried = rows("train", LABELS, seed), []
    scale = X[at].std()  # one for all: some features hardly vary
    for C in PENALTIES:
        model = LogisticRegression(C=C, max_iter=2000)
        model.fit(X[at] / scale, data.labels[at])
        loss = log_loss(held.labels, model.predict_proba(V / scale))
        tried.append((loss, C, model))
    model = min(tried, key=lambda one: one[:2])[2]
    w, b = model.coef_[0] / scale, model.intercept_[0]
    weight, bias = np.stack([-w, w]) / 2, np.array([-b, b]) / 2
    return tuple(torch.tensor(part, dtype=torch.float32) for part in (weight, bias))


def started(seed):
    """MiniLM with the head that logistic regression finds on its frozen features."""
    backbone = zoo.load("minilm", 2, seed=seed)
    with torch.no_grad():
        for parameter, value in zip(
            backbone.model.head.parameters(), probe_head(seed), strict=True
        ):
            parameter.copy_(value)
    return backbone


def groups(backbone, lr):
    """Parameter groups: what learns at the rate lr, and the head at its own."""
    found = {lr: [], HEAD_RATE: []}
    for name, parameter in backbone.model.named_parameters():
        if parameter.requires_grad:
            found[HEAD_RATE if name.startswith("head.") else lr].append(parameter)
    return [dict(params=p, lr=rate, weight_decay=0.0) for rate, p in found.items() if p]


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
    for prefix, data in (("", tested(seed)), ("val_", short("validation")[0])):
        data = results.part(data, fraction)
        found = loss_and_accuracy(text.predict(backbone, data.texts), data.labels)
        numbers[f"{prefix}loss"], numbers[f"{prefix}accuracy"] = found
    return numbers
