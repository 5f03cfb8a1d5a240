"""Trusted checks of exercise 05: they run in the grader and are never released."""

import math

import torch

from course_lib.course.grading.checks import Wrong, as_array, close, expect, same, shape

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
    "pair": "Return two whole numbers: pixels before, then pixels behind.",
    "sides": "Half of the missing pixels lie before the row and half behind, and an "
    "odd one behind.",
    "behind": "The odd pixel lies behind, not before.",
    "rounding": "The output has size / stride pixels, rounded up.",
    "negative": "A row that is long enough needs no pixel: never fewer than none.",
    "dilation": "A kernel with dilation d reaches over d (k - 1) + 1 pixels.",
    "stride": "The last output begins (outputs - 1) strides further on; with a stride "
    "of 2 or more fewer pixels are missing.",
    "padding": "These are not the pixels that SAME asks for.",
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
    "once": "A picture may be stored several times in the test set as well: each of "
    "its positions counts.",
    "cut": "Large pictures that differ count as equal: the key must hold every pixel "
    "(the text of a large tensor leaves out its middle).",
    "train side": "Positions in the test set are asked for.",
    "pictures": "The positions are wrong: a picture counts when all its pixels are "
    "equal.",
}


def check_normalise(learner, rng):
    """Random pictures that are not square, three unequal means and deviations."""
    n, h, w = 3, int(rng.integers(4, 7)), int(rng.integers(7, 10))
    images = torch.tensor(rng.integers(0, 240, (n, h, w, 3)), dtype=torch.uint8)
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


def padding(size, kernel, stride, dilation, rule=""):
    """Pixels before and behind by the rule SAME, or by a typical mistake."""
    outputs = size // stride if rule == "rounding" else -(-size // stride)
    reach = dilation * (kernel - 1) + 1
    if rule == "dilation":
        reach = kernel
    if rule == "spread":
        reach = dilation * kernel
    missing = (outputs - 1) * stride + reach - size
    if rule == "stride":
        missing = reach - 1
    if rule != "negative":
        missing = max(missing, 0)
    half = missing // 2
    if rule == "sides":
        return (reach - 1) // 2, (reach - 1) // 2
    if rule == "all behind":
        return 0, missing
    return (missing - half, half) if rule == "behind" else (half, missing - half)


PADDING_HINTS = {
    "sides": "sides",
    "all behind": "sides",
    "behind": "behind",
    "rounding": "rounding",
    "negative": "negative",
    "dilation": "dilation",
    "spread": "dilation",
    "stride": "stride",
}


def check_same_padding(learner, rng):
    """Odd and even sizes, kernels and strides; some rows need nothing."""
    cases = [(9, 1, 3, 1), (10, 2, 3, 1)]  # long enough
    for stride in (1, 2, 3):
        for kernel in (3, 4, 5):
            size, dilation = int(rng.integers(20, 60)), int(rng.integers(1, 4))
            cases += [(size, kernel, stride, dilation), (size + 1, kernel, stride, 1)]
    found = learner.run(
        "result = [list(same_padding(*case)) for case in cases]", cases=cases
    )
    if shape(found) != (len(cases), 2):
        raise Wrong("pair")
    if close(found, [padding(*case) for case in cases]):
        return
    for rule, hint in PADDING_HINTS.items():
        if close(found, [padding(*case, rule) for case in cases]):
            raise Wrong(hint)
    raise Wrong("padding")


DRIFT = """
from torch import nn
made = {
    "batch": lambda: nn.BatchNorm2d(2),
    "plain": lambda: nn.BatchNorm1d(2, affine=False),
    "instance": lambda: nn.InstanceNorm1d(2, track_running_stats=True),
    "still": lambda: nn.BatchNorm1d(2, track_running_stats=False),
    "layer": lambda: nn.LayerNorm(3),
    "conv": lambda: nn.Conv2d(2, 2, 1),
}
net = nn.ModuleDict({block: nn.ModuleDict() for block, *_ in rows if block})
net.train()
halves = 0
for block, name, kind, training, learns in rows:
    module = made[kind]().train(training).requires_grad_(learns)
    if kind == "batch" and learns:  # one parameter of the two, by turns
        halves += 1
        (module.weight if halves % 2 else module.bias).requires_grad_(False)
    (net[block] if block else net)[name] = module
result = drifting(net)
"""
LAYERS = (  # kind, train mode, learns: each at least once
    *(("batch", True, False), ("batch", True, False), ("batch", False, False)),
    *(("batch", True, True), ("batch", True, True)),
    *(("plain", True, False), ("instance", True, False)),
    *(("still", True, False), ("layer", True, False), ("conv", True, False)),
)


def check_drifting(learner, rng):
    """Layers of each kind in each state, at random places of a nested network."""
    for _ in range(2):
        layers = [*LAYERS]
        for _ in range(int(rng.integers(3, 7))):
            kind = str(rng.choice(["batch", "plain", "instance", "still", "layer"]))
            layers.append((kind, bool(rng.integers(2)), bool(rng.integers(2))))
        blocks = [f"{c}{int(rng.integers(100))}" for c in rng.permutation(list("pqr"))]
        blocks[0] = ""  # these stand at the top
        rows = [
            (blocks[int(rng.integers(3))], f"{'xyz'[int(rng.integers(3))]}{i}", *layer)
            for i, layer in enumerate(layers[j] for j in rng.permutation(len(layers)))
        ]
        found = learner.run(DRIFT, rows=rows)
        for name in expect(found, "names", kind=list):
            expect(name, "names", kind=str)
        judge_drifting(
            found, {".".join(filter(None, row[:2])): row[2:] for row in rows}
        )


def judge_drifting(found, layers):
    """Wrong with its hint; layers: {name: (kind, train mode, learns)}."""
    learning = {n for n, (kind, _, learns) in layers.items() if learns}
    learning &= {n for n, (kind, *_) in layers.items() if kind in ("batch", "layer")}
    kept = {n for n, (kind, *_) in layers.items() if kind in ("still", "layer")}
    training = {n for n, (kind, mode, _) in layers.items() if mode and kind != "conv"}
    bare = {n for n, (kind, *_) in layers.items() if kind in ("plain", "instance")}
    expected = training - kept - learning
    if found == sorted(expected):
        return
    more, fewer = set(found) - expected, expected - set(found)
    if more & kept:
        raise Wrong("statistics")
    if (more - learning) & (set(layers) - training):
        raise Wrong("eval")
    if more & learning:
        raise Wrong("learning")
    if not more and fewer == expected & bare:
        raise Wrong("affine", credit=0.5)
    raise Wrong("missing" if fewer else "names")


def curves(rng):
    """[(kind, losses)] in random order: ties, nan in each place, the best anywhere."""
    nan = float("nan")
    found = [("nan", [nan] * int(rng.integers(1, 4)))]
    for kind in ("plain",) * 4 + ("tie",) * 2 + ("nan",) * 3:
        n = int(rng.integers(4, 8))
        numbers = rng.choice(2000, n, replace=False) + 100
        losses = [round(int(x) / 1000, 3) for x in numbers]
        if len(found) in (1, 2):  # the best neither first nor last
            low, place = losses.index(min(losses)), int(rng.integers(1, n - 1))
            losses[low], losses[place] = losses[place], losses[low]
        if kind == "tie":
            low = losses.index(min(losses))
            losses.insert(int(rng.integers(low + 1, n + 1)), losses[low])
        if kind == "nan":
            places = {0, int(rng.integers(1, n + 1))}
            places = places if rng.random() < 0.5 else {int(rng.integers(n + 1))}
            for place in sorted(places):
                losses.insert(place, nan)
        found.append((kind, losses))
    return [found[i] for i in rng.permutation(len(found))]


def lowest(losses, last=False):
    """The first epoch, or the last, with the lowest loss that is a number."""
    sound = [(x, -i if last else i) for i, x in enumerate(losses) if not math.isnan(x)]
    return abs(min(sound)[1]) if sound else None


def check_best_epoch(learner, rng):
    """Ties, nan in front, in between and everywhere, the best at either end."""
    cases = curves(rng)
    found = learner.run(
        "result = [best_epoch(list(losses)) for losses in cases]",
        cases=[losses for _, losses in cases],
    )
    expect(found, "epoch", kind=list, length=len(cases))

    def alike(way, *kinds):
        own = [i for i, (kind, _) in enumerate(cases) if kind in kinds]
        return same([found[i] for i in own], [way(cases[i][1]) for i in own])

    if alike(lowest, "plain", "tie", "nan"):
        return
    if alike(lambda losses: len(losses) - 1, "plain", "tie"):
        raise Wrong("last")
    if alike(lambda losses: losses.index(max(losses)), "plain", "tie"):
        raise Wrong("highest")
    if alike(lowest, "plain") and alike(lambda x: lowest(x, last=True), "tie"):
        raise Wrong("tie", credit=0.5)
    if alike(lowest, "plain", "tie"):
        raise Wrong("nan", credit=0.5)
    raise Wrong("epoch")


STALE = """
import torch
from torch import nn
def layer(bias=True):
    made = nn.Linear(2, 2, bias=bias)
    with torch.no_grad():
        for p in made.parameters(): p.fill_(0.5)
    return made
net = nn.ModuleList([layer() for _ in range(n)])
for i in frozen: net[i].requires_grad_(False)
groups = [{"params": net[i].parameters(), "lr": 0.1} for i in order if i not in frozen]
optimizer = SGD(groups)
for i, bias in swapped: net[i] = layer(bias)
for i in told: optimizer.add_param_group({"params": net[i].parameters()})
for i in later: net[i].requires_grad_(False)
"""


class Groups:
    """An optimizer, as far as its groups go."""

    def __init__(self, groups):
        self.param_groups = []
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group):
        self.param_groups.append({"params": list(group["params"])})


def stale(given):
    """The right pair, and the pairs of two mistakes, for STALE's inputs."""
    space = dict(given, SGD=Groups)
    exec(STALE, space)
    groups = [set(g["params"]) for g in space["optimizer"].param_groups]
    held, own = set().union(*groups), set(space["net"].parameters())
    learning = {p for p in own if p.requires_grad}
    return (
        (len(held - own), len(learning - held)),
        (len(held - own), len(own - held)),
        (len(groups[0] - own), len(learning - groups[0])),
    )


def drawn_layers(rng, swaps):
    """STALE's inputs: frozen layers, layers swapped, some told, some frozen later."""
    n = int(rng.integers(6, 9))
    order = [int(i) for i in rng.permutation(n)]
    frozen, learning = order[:2], order[2:]
    changed = [*learning[:swaps], *frozen[: int(rng.integers(2)) * bool(swaps)]]
    return dict(
        n=n,
        frozen=sorted(frozen),
        order=[int(i) for i in rng.permutation(n)],
        swapped=[(i, bool(rng.integers(2))) for i in changed],
        told=changed[:1] if rng.random() < 0.5 else [],
        later=learning[-1:] if rng.random() < 0.5 else [],
    )


def check_stale_parameters(learner, rng):
    """Groups, frozen layers, and swapped layers that hold the same numbers.

    Swapped layers may be in the optimizer again, and others frozen after it was made.
    """
    for swaps in rng.permutation([0, *rng.integers(1, 5, 5)]):
        ways = {}
        while len({(0, 0), *ways.values()}) < (5 if swaps else 3):
            given = drawn_layers(rng, int(swaps))
            right, frozen, groups = stale(given)
            ways = {"": right, "order": right[::-1], "frozen": frozen, "groups": groups}
        ways["values compared"] = (0, 0)
        ask = f"from torch.optim import SGD\n{STALE}"
        ask += "result = stale_parameters(net, optimizer)"
        found = learner.run(ask, **given)
        expect(found, "counts", kind=(tuple, list), length=2)
        hint = next((h for h, pair in ways.items() if same(found, pair)), "counts")
        if hint:
            raise Wrong(hint)


def check_leaked(learner, rng):
    """Copies, shuffled copies with the same sum, copies within the test set, large."""
    train = torch.tensor(rng.integers(0, 256, (40, 6, 5)), dtype=torch.uint8)
    test = torch.tensor(rng.integers(0, 256, (30, 6, 5)), dtype=torch.uint8)
    places = sorted(int(i) for i in rng.choice(30, 12, replace=False))
    equal, shuffled = places[::2], places[1::2]
    sources = [int(i) for i in rng.choice(40, 12, replace=False)]
    for place, source in zip(equal, sources[:6], strict=True):
        test[place] = train[source]
    test[equal[2]] = test[equal[0]]  # stored twice on this side, too
    for place, source in zip(shuffled, sources[6:], strict=True):
        test[place] = train[source].flip(0)
    test[-1] = test[-2] if not {28, 29} & set(places) else test[-1]
    found = learner.call("leaked", train, test)
    positions = as_array(found)
    if positions is None or positions.ndim != 1:
        raise Wrong("pictures")
    found = positions.tolist()
    if found == equal:
        return large_pictures(learner, rng)
    if set(found) >= set(places) and len(found) < 25:
        raise Wrong("sums")
    if found == equal[:2] + equal[3:]:
        raise Wrong("once")
    if found == sorted(sources[:2] + sources[3:6]):
        raise Wrong("train side")
    raise Wrong("pictures")


def large_pictures(learner, rng):
    """Pictures of 64 x 64: copies, and others that differ in one pixel far inside."""
    train = torch.tensor(rng.integers(0, 256, (8, 64, 64)), dtype=torch.uint8)
    order = rng.permutation(8)
    test, changed = train[order].clone(), set(rng.choice(8, 4, replace=False))
    for place in changed:
        test[place, int(rng.integers(16, 48)), int(rng.integers(16, 48))] ^= 1
    found = learner.call("leaked", train, test)
    positions = as_array(found)
    if positions is None or set(positions.flatten()) != set(range(8)) - changed:
        raise Wrong("cut", credit=0.5)
