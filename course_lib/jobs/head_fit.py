"""The linear head of a frozen network, fitted as a multinomial logistic regression.

On stored features the loss of a linear head is convex: L-BFGS finds its minimum (Liu
and Nocedal 1989), where a few epochs of small steps stop somewhere on the way.  These
are standardised by the training part, the penalty is chosen by cross-validation inside
of it, and all is written into weight and bias of the network's own head.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from course_lib.datasets.near_duplicates import digests, merged
from course_lib.jobs.stored_stages import PASSIVE, Stored
from course_lib.models.stage_head import standardised_by

FOLDS = 5
MOST = 1000  # pictures that a choice is cross-validated on
CS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # inverse penalties, as in scikit-learn
STEPS = 500  # of L-BFGS, at most


@dataclass(frozen=True)
class Fit:
    """How a head was fitted.

    C: the inverse penalty.  folds: of the cross-validation, 0 where a class has too few
    examples for one.  tried: {C: mean loss (nats) of the pictures left out}.
    """

    C: float
    folds: int
    tried: dict[str, float]

    def to_dict(self) -> dict:
        """Ready for json.dumps."""
        return asdict(self)


def linear(backbone) -> nn.Linear | None:
    """The head of a network where that is one linear layer, behind dropout or not."""
    if len(backbone.heads) != 1:
        return None
    head = backbone.model.get_submodule(backbone.heads[0])
    layers = [m for m in head.modules() if not isinstance(m, (nn.Sequential, *PASSIVE))]
    one = layers[0] if len(layers) == 1 else None
    return one if isinstance(one, nn.Linear) and one.bias is not None else None


def views(config, backbone, augment):
    """The augmentation of stored pictures: none where `fitted` can do it."""
    alone = config.strategy == "frozen" and linear(backbone) is not None
    return None if alone else augment


def compared_on(config, train) -> tuple[np.ndarray, np.ndarray]:
    """(rows of the training part, at most MOST, ascending; the group of each).

    Equal pictures, and those that ``together`` names, are one group.
    """
    order = np.random.default_rng(config.seed).permutation(len(train))
    rows = np.sort(order[:MOST])
    groups = digests(train)[rows]
    if config.together in train.metadata:
        groups = merged(*(
            np.unique(column, return_inverse=True)[1]
            for column in (groups, train.metadata[config.together][rows])
        ))  # fmt: skip
    return rows, groups


def folds(labels, groups, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """[(rows to fit on, rows left out)], stratified; rows of a group stay together.

    Empty where a class has fewer than two groups, or where there is but one class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    classes = np.unique(labels)
    least = min(len(np.unique(groups[labels == k])) for k in classes)
    if least < 2 or len(classes) < 2:
        return []
    cut = StratifiedGroupKFold(min(FOLDS, least), shuffle=True, random_state=seed)
    return list(cut.split(labels, labels, groups))


def fitted(config, backbone, parts, once: Stored, objective) -> Fit:
    """Fit the linear head in place, on what the frozen layers gave.

    objective: f(logits, labels) -> mean loss, with class weights and label smoothing.
    Deterministic, whatever the number of threads.
    """
    head, threads = linear(backbone), torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order
    try:
        X = once.head_inputs(np.arange(once.pictures))
        y = torch.as_tensor(parts.train.labels)
        rows, groups = compared_on(config, parts.train)
        C, count, tried = _chosen(
            X[rows], y[rows], groups, config.seed, head.out_features, objective
        )
        weight, bias = regression(X, y, head.out_features, objective, C)
    finally:
        torch.set_num_threads(threads)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    return Fit(C, count, {f"{c:g}": round(loss, 6) for c, loss in tried.items()})


def _chosen(X, y, groups, seed, classes, objective):
    """(C of the lowest loss on rows left out, number of folds, {C: loss})."""
    cuts, losses = folds(y.numpy(), groups, seed), dict.fromkeys(CS, 0.0)
    if not cuts:
        return 1.0, 0, {}
    for fit, held_out in cuts:
        start = None
        for C in CS:
            weight, bias = start = regression(
                X[fit], y[fit], classes, objective, C, start
            )
            logits = X[held_out].double() @ weight.T + bias
            losses[C] += float(objective(logits, y[held_out])) * len(held_out) / len(y)
    return min(CS, key=losses.get), len(cuts), losses


def regression(X, y, classes: int, objective, C: float, start=None):
    """(weight (classes, F), bias) for raw features X (N, F), in double precision.

    Minimises N objective + |W|^2 / (2 C), where W is of standardised features.  start:
    a weight and a bias to begin from.
    """
    scale = standardised_by(X)
    mean, std = scale.mean.double(), scale.std.double()
    Z = (X.double() - mean) / std
    weight = torch.zeros(classes, X.shape[1], dtype=torch.float64)
    bias = torch.zeros(classes, dtype=torch.float64)
    if start is not None:
        weight, bias = start[0] * std, start[1] + start[0] @ mean
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    solver = torch.optim.LBFGS(
        [weight, bias],
        max_iter=STEPS,
        tolerance_grad=1e-6,
        tolerance_change=1e-10,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def loss():
        solver.zero_grad()
        value = objective(Z @ weight.T + bias, y)
        value = value + (weight**2).sum() / (2 * C * len(Z))
        value.backward()
        return value

    solver.step(loss)
    weight = weight.detach() / std
    return weight, bias.detach() - weight @ mean
