"""Combining networks by their weights: interpolation, soups and task vectors.

A network is a state, {name: tensor}, as `state_dict` gives it; all states of a call
have the same names and shapes and began from the same pretrained weights.  Numbers that
are not floating point (BatchNorm's count of batches) are taken from the first state, in
`interpolate` from the end.  Running means and variances of BatchNorm are averaged like
weights; `torch.optim.swa_utils.update_bn` estimates them anew.
"""

from collections.abc import Callable, Mapping, Sequence

import torch

from course_lib.errors import CourseError

State = Mapping[str, torch.Tensor]


def _alike(states: Sequence[State], who: str) -> None:
    """CourseError unless there is a state, and all have the same names and shapes."""
    if not states:
        raise CourseError(f"{who}: no states.\nExpected: one or more.")
    first = {name: value.shape for name, value in states[0].items()}
    for state in states[1:]:
        shapes = {name: value.shape for name, value in state.items()}
        if shapes != first:
            name, *_ = sorted(
                n for n in {*first, *shapes} if first.get(n) != shapes.get(n)
            )
            raise CourseError(
                f"{who}: {name} is {tuple(first.get(name, ()))} in one state and "
                f"{tuple(shapes.get(name, ()))} in another.\nExpected: networks of one "
                "architecture that began from the same weights.\nDo: compare the names "
                "of both state_dict()s."
            )


def interpolate(start: State, end: State, alpha: float) -> dict[str, torch.Tensor]:
    """WiSE-FT: (1 - alpha) start + alpha end, of every weight and running statistic.

    alpha 0 is the start, 1 the fine-tuned end.  Wortsman et al. 2022 (Robust
    fine-tuning of zero-shot models).  Raises CourseError for states that differ in a
    name or shape.
    """
    _alike([start, end], "interpolate")
    return {
        name: torch.lerp(start[name], value, alpha)
        if value.is_floating_point()
        else value.clone()
        for name, value in end.items()
    }


def soup(states: Sequence[State]) -> dict[str, torch.Tensor]:
    """The uniform soup: the mean of the weights.

    Wortsman et al. 2022 (Model soups).  Raises CourseError as `interpolate` does.
    """
    _alike(states, "soup")
    return {
        name: torch.stack([state[name] for state in states]).mean(dim=0)
        if value.is_floating_point()
        else value.clone()
        for name, value in states[0].items()
    }


def greedy_soup(states: Sequence[State], score: Callable[[State], float]):
    """(the greedy soup, places of its members): best first, kept if no worse with it.

    score: f(state) of held-out data, higher is better.  Wortsman et al. 2022, recipe 1.
    """
    _alike(states, "greedy_soup")
    scores = [score(state) for state in states]
    order = sorted(range(len(states)), key=lambda i: -scores[i])
    members, best = order[:1], scores[order[0]]
    for i in order[1:]:
        found = score(soup([states[j] for j in (*members, i)]))
        if found >= best:
            members, best = [*members, i], found
    return soup([states[i] for i in members]), members


# -- task vectors -----------------------------------------------------------------


def task_vector(start: State, end: State) -> dict[str, torch.Tensor]:
    """end - start of every floating-point number.  Ilharco et al. 2023."""
    _alike([start, end], "task_vector")
    return {n: end[n] - v for n, v in start.items() if v.is_floating_point()}


def moved(start: State, vector: State, factor: float = 1.0) -> dict[str, torch.Tensor]:
    """start + factor vector; what is not in the vector stays as it is."""
    return {n: v + factor * vector[n] if n in vector else v for n, v in start.items()}


def added(updates: Sequence[torch.Tensor], weights=None) -> torch.Tensor:
    """Task arithmetic: the weighted sum of updates of one shape.  Ilharco et al. 2023.

    weights: one a task, 1 when None.
    """
    stacked = torch.stack(list(updates))
    return torch.tensordot(_weights(stacked, weights), stacked, dims=1)


def _weights(stacked: torch.Tensor, weights) -> torch.Tensor:
    """One weight a task, (T,)."""
    ones = [1.0] * len(stacked)
    return torch.as_tensor(ones if weights is None else weights).to(stacked)


def trimmed(update: torch.Tensor, density: float) -> torch.Tensor:
    """The share ``density`` of largest magnitude, all else 0: TIES, step 1."""
    k = int(density * update.numel())
    kept = update.abs().flatten().topk(k).indices
    mask = torch.zeros(update.numel(), dtype=torch.bool).index_fill_(0, kept, True)
    return torch.where(mask.view_as(update), update, 0)


def ties(updates: Sequence[torch.Tensor], density: float, weights=None):
    """TIES: trim, elect a sign for each number, average those that have it.

    updates: of one shape, one a task.  The sign elected is that of the sum of what is
    left after trimming.  Yadav et al. 2023, as peft.utils.merge_utils.ties computes it.
    """
    stacked = torch.stack([trimmed(update, density) for update in updates])
    elected = torch.where(stacked.sum(dim=0) >= 0, 1, -1)
    agree = stacked.sign() == elected  # (T, ...)
    factors = _weights(stacked, weights).view(-1, *[1] * (stacked.ndim - 1))
    kept = (factors * stacked * agree).sum(dim=0)
    return kept / agree.sum(dim=0).clamp(min=1)


def dropped(update: torch.Tensor, density: float, generator=None) -> torch.Tensor:
    """DARE: each number stays with probability ``density``, divided by it, or is 0.

    The expectation is the update.  Yu et al. 2024.
    """
    chance = torch.full_like(update, density)
    return update * torch.bernoulli(chance, generator=generator) / density


def dare(updates, density: float, weights=None, generator=None) -> torch.Tensor:
    """Task arithmetic of updates that were thinned out by `dropped`."""
    thinned = [dropped(update, density, generator) for update in updates]
    return added(thinned, weights)


# -- LoRA -------------------------------------------------------------------------


def factors_added(adapters, weights):
    """(A, B) whose product is the weighted sum of the updates B_i A_i.

    adapters: pairs A_i (r_i, k), B_i (d, r_i); A (sum r_i, k), B (d, sum r_i).  The
    sum of updates has up to the sum of the ranks, so that no A and B of one rank r
    hold it in general: w_1 A_1 + w_2 A_2 and the same of B give B_1 A_2 and B_2 A_1
    as well.  peft's combination_type="cat" does this.
    """
    A = torch.cat([w * A for w, (A, _) in zip(weights, adapters, strict=True)])
    B = torch.cat([B for _, B in adapters], dim=1)
    return A, B
