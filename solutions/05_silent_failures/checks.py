"""Trusted checks of exercise 05: they run in the grader and are never released."""

import torch

from course_lib.grading.checks import Wrong, close, shape

HINTS = {
    "shape": "The result has the wrong shape: pictures come as (N, H, W, 3) and leave "
    "as (N, 3, H, W).",
    "scale": "The pictures are not scaled to [0, 1] before mean and std are used.",
    "view": "The pixels are mixed up: view counts them differently, it does not move "
    "the colours to the front.",
    "channels": "The colours are in reverse order, or mean and std meet the wrong "
    "colour.",
    "std": "mean and std: subtract the one, divide by the other.",
    "values": "The values are not those that the backbone was trained on.",
    "eval": "A layer in eval mode does not drift.",
    "affine": "A layer without parameters (affine=False) drifts too when it is in "
    "train mode.",
    "statistics": "Only layers with running statistics can drift: neither LayerNorm "
    "nor BatchNorm with track_running_stats=False.",
    "learning": "A layer whose own parameters learn is not frozen: not asked for.",
    "missing": "Not every layer that drifts is found: look at all modules, nested ones "
    "too.",
    "names": "Return the sorted list of the modules' names.",
    "last": "The last epoch is not the best one.",
    "tie": "Of several epochs with the lowest loss the first is asked for.",
    "nan": "An epoch with the loss nan is none to keep; if all are nan, return None.",
    "highest": "The lowest loss is asked for.",
    "epoch": "Not the first epoch with the lowest loss.",
    "values compared": "Parameters are compared by what they hold: two tensors with "
    "equal numbers are still two.",
    "frozen": "A frozen parameter need not be in the optimizer.",
    "groups": "An optimizer may have several groups of parameters.",
    "order": "The order is: tensors outside the model first, tensors left out second.",
    "counts": "The counts are wrong. Count tensors, not numbers.",
    "sums": "Two different pictures may have the same sum or mean: compare pixels.",
    "train side": "Positions in the test set are asked for.",
    "pictures": "The positions are wrong: a picture counts when all its pixels are "
    "equal.",
}


def check_normalise(learner, rng):
    """Random pictures that are not square, three unequal means and deviations."""
    n, h, w = 3, int(rng.integers(4, 7)), int(rng.integers(7, 10))
    images = torch.tensor(rng.integers(0, 256, (n, h, w, 3)), dtype=torch.uint8)
    mean = torch.tensor(rng.uniform(0.2, 0.8, 3), dtype=torch.float32)
    std = torch.tensor(rng.uniform(0.1, 0.4, 3), dtype=torch.float32)
    x = learner.call("normalise", images, mean, std)
    m, s = mean.view(3, 1, 1), std.view(3, 1, 1)
    unit = images.permute(0, 3, 1, 2).float() / 255
    if close(x, (unit - m) / s):
        return
    if shape(x) != (n, 3, h, w):
        raise Wrong("shape")
    mixed = images.float().view(n, 3, h, w)
    if close(x, (mixed - m) / s) or close(x, (mixed / 255 - m) / s):
        raise Wrong("view")
    if close(x, (unit * 255 - m) / s):
        raise Wrong("scale")
    if close(x, ((unit - m) / s).flip(1)) or close(x, (unit.flip(1) - m) / s):
        raise Wrong("channels")
    if any(
        close(x, y) for y in ((unit - m) * s, unit - m, (unit - s) / m, unit / s - m)
    ):
        raise Wrong("std")
    raise Wrong("values")


DRIFT = """
from torch import nn
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.inner = nn.Sequential(nn.BatchNorm1d(3), nn.LayerNorm(3))
net = nn.ModuleDict({n: Block() for n in names})
net["plain"] = nn.BatchNorm1d(2, affine=False)
net["batch"] = nn.BatchNorm1d(2, track_running_stats=False)
net["instance"] = nn.InstanceNorm1d(2, track_running_stats=True)
net.requires_grad_(False).train()
net[names[0]].eval()
net[names[1]].norm.requires_grad_(True)
result = drifting(net)
"""


def check_drifting(learner, rng):
    """Nested layers of each kind, in each state."""
    names = [f"{c}{int(rng.integers(100))}" for c in rng.permutation(list("pqr"))]
    found = learner.run(DRIFT, names=names)
    still, learning, drifts = names
    expected = {f"{learning}.inner.0", f"{drifts}.norm", f"{drifts}.inner.0"}
    expected |= {"plain", "instance"}
    if not isinstance(found, list) or not all(isinstance(n, str) for n in found):
        raise Wrong("names")
    if found == sorted(expected):
        return
    more, fewer = set(found) - expected, expected - set(found)
    if any("batch" == n or n.endswith("inner.1") for n in more):
        raise Wrong("statistics")
    if any(n.startswith(still) for n in more):
        raise Wrong("eval")
    if f"{learning}.norm" in more:
        raise Wrong("learning")
    if fewer and fewer <= {"plain", "instance"}:
        raise Wrong("affine", credit=0.5)
    raise Wrong("missing" if fewer else "names")


def check_best_epoch(learner, rng):
    """Ties, nan in front, in between and everywhere, the best at either end."""
    nan = float("nan")
    a, b, c = (round(float(x), 3) for x in sorted(rng.uniform(0.1, 2, 3)))
    cases = [([c, a, b], 1), ([b, a, c, a], 1), ([a, b, c], 0), ([c, b, a], 2)]
    cases += [
        ([nan, b, a], 2),
        ([b, nan, a, c], 2),
        ([b, a, nan], 1),
        ([nan, nan], None),
    ]
    found = learner.run(
        "result = [best_epoch(list(losses)) for losses in cases]",
        cases=[losses for losses, _ in cases],
    )
    if found == [epoch for _, epoch in cases]:
        return
    if found[0] == 2 and found[2] == 2:
        raise Wrong("last")
    if found[0] == 0 and found[3] == 0:
        raise Wrong("highest")
    if found[1] == 3:
        raise Wrong("tie", credit=0.5)
    if found[:4] == [1, 1, 0, 2]:
        raise Wrong("nan", credit=0.5)
    raise Wrong("epoch")


STALE = """
import torch
from torch import nn
net = nn.ModuleList([nn.Linear(2, 2) for _ in range(n)])
with torch.no_grad():
    for p in net.parameters(): p.fill_(0.5)
for layer in list(net)[:frozen]: layer.requires_grad_(False)
layers = list(net)[frozen:]
groups = [{"params": layer.parameters(), "lr": 0.1} for layer in layers]
optimizer = torch.optim.SGD(groups)
for i in range(frozen, frozen + swapped):
    net[i] = nn.Linear(2, 2, bias=bias)
    with torch.no_grad():
        for p in net[i].parameters(): p.fill_(0.5)
result = stale_parameters(net, optimizer)
"""


def check_stale_parameters(learner, rng):
    """Groups, frozen layers, and swapped layers that hold the same numbers."""
    for swapped, bias in ((0, True), (1, False), (2, True)):
        n, frozen = 6, int(rng.integers(1, 3))
        found = learner.run(STALE, n=n, frozen=frozen, swapped=swapped, bias=bias)
        expected = (2 * swapped, swapped * (2 if bias else 1))
        if isinstance(found, (tuple, list)) and tuple(found) == expected:
            continue
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise Wrong("counts")
        if tuple(found) == expected[::-1]:
            raise Wrong("order")
        if found[1] == expected[1] + 2 * frozen and found[0] == expected[0]:
            raise Wrong("frozen")
        if swapped == 0 and found[1] == 2 * (n - frozen - 1):
            raise Wrong("groups")
        if swapped and tuple(found) == (0, 0):
            raise Wrong("values compared")
        raise Wrong("counts")


def check_leaked(learner, rng):
    """Copies, shuffled copies with the same sum, copies within the test set."""
    train = torch.tensor(rng.integers(0, 256, (40, 6, 5)), dtype=torch.uint8)
    test = torch.tensor(rng.integers(0, 256, (30, 6, 5)), dtype=torch.uint8)
    places = sorted(int(i) for i in rng.choice(30, 12, replace=False))
    same, shuffled = places[::2], places[1::2]
    sources = [int(i) for i in rng.choice(40, 12, replace=False)]
    for place, source in zip(same, sources):
        test[place] = train[source]
    for place, source in zip(shuffled, sources[6:]):
        test[place] = train[source].flip(0)
    test[-1] = test[-2] if not {28, 29} & set(places) else test[-1]
    found = learner.call("leaked", train, test)
    if isinstance(found, (list, torch.Tensor)):
        found = [int(i) for i in found]
    if found == same:
        return
    if isinstance(found, list) and set(found) >= set(places) and len(found) < 25:
        raise Wrong("sums")
    if found == sorted(sources[:6]):
        raise Wrong("train side")
    raise Wrong("pictures")
