"""Trusted checks of exercise 03: they run in the grader and are never released."""

import numpy as np
import torch

from course_lib.course.grading.checks import Wrong, close, expect

HINTS = {
    "learns": "What learns must be exactly the parameters of the head.",
    "prefix": "A module whose name only begins like the head's is frozen too: compare "
    "with the name and a dot.",
    "drift": "A tensor of the frozen part changes in training: BatchNorm's running "
    "statistics are no parameters, the mode decides about them.",
    "head mode": "The head is to be trained: it must be in train mode, or its dropout "
    "is switched off.",
    "shape": "The result has the wrong shape: one row of features for each row of X, "
    "the last batch included.",
    "order": "The rows are in another order than those of X.",
    "dropout": "The features are random or depend on the batch: the model must be in "
    "eval mode while they are computed.",
    "gradient": "The features still carry a gradient: the whole graph would be kept.",
    "batch": "The model sees `batch` rows at a time, each row once, the rest last.",
    "mode": "The model must be left in the mode in which it came.",
    "values": "The features are not those of the model.",
    "formula": "Naive: E (t_backbone + t_head). Cached: t_backbone + E t_head. The "
    "factor is the first divided by the second.",
    "inverse": "The factor is upside down: caching is faster, so it is 1 or more.",
    "limit": "This is the limit for many epochs, not the factor for this number.",
    "zero": "The loss is always 0: both names mean the same model.",
    "rise": "An accuracy that rises is lost accuracy too: a negative one, not 0.",
    "sign": "The sign: lost accuracy is positive when it fell.",
    "changed": "The model that was given has been trained: train a copy.",
    "amount": "This is not the accuracy before minus the accuracy after.",
    "slack": "The strategy chosen is the best one: a cheaper one within the slack "
    "comes first.",
    "cheapest": "The cheapest of all is taken, however bad it is.",
    "average": "Several rows of one strategy are seeds: average before comparing.",
    "cost": "Costs are averaged like accuracies: over the seeds, at this number of "
    "labels only.",
    "labels": "Only rows with the number of labels asked for count.",
    "choice": "Another strategy is the cheapest within the slack.",
}

MASK = """
import torch
from torch import nn
class Mask(nn.Dropout):
    def __init__(self, mask):
        super().__init__(0.5)
        self.mask = mask
    def forward(self, x):
        return x * self.mask if self.training else x
"""
NET = (
    MASK
    + """
class Net(nn.Module):
    def __init__(self, state, mask, head):
        super().__init__()
        self.add_module(head, nn.Sequential(Mask(mask), nn.Linear(6, 3)))
        self.body = nn.Linear(4, 6)
        self.norm, self.norm2 = nn.BatchNorm1d(6), nn.BatchNorm2d(6)
        self.add_module(head + "_old", nn.Linear(6, 6))
        self.load_state_dict(state)
        self.head = head
    def forward(self, x):
        x = self.norm2(self.norm(self.body(x))[:, :, None, None]).flatten(1).relu()
        head, old = (self.get_submodule(self.head + end) for end in ("", "_old"))
        return head(old(x))
def train(net, batches, targets):
    learns = [p for p in net.parameters() if p.requires_grad]
    for x, y in zip(batches, targets, strict=True) if learns else ():
        (net(x) - y).square().mean().backward()
        with torch.no_grad():
            for p in (p for p in learns if p.grad is not None):
                p -= 0.1 * (p.grad + 0.5 * p)  # decay moves all that learn
                p.grad = None
    return {n: t.detach().clone() for n, t in net.state_dict().items()}
"""
)
FREEZE = (
    NET
    + """
net = Net(state, mask, head).train()
freeze_backbone(net, head)
result = train(net, batches, targets)
"""
)


def tensor(rng, *size):
    """Normal numbers, float32."""
    return torch.tensor(rng.standard_normal(size), dtype=torch.float32)


def drawn_mask(rng, n):
    """What stands in for dropout, so that the mode shows in known numbers."""
    return torch.tensor(rng.permutation([0, 2, 2, 0.5, 0, 1.5][:n])).float()


def trained(given, norm, head):
    """The numbers after FREEZE with the modes of the norm and of the head."""
    space = {}
    exec(NET, space)
    net = space["Net"](given["state"], given["mask"], given["head"])
    net.requires_grad_(False)
    net.norm.train(norm)
    net.norm2.train(norm)
    net.get_submodule(given["head"]).train(head).requires_grad_(True)
    return space["train"](net, given["batches"], given["targets"])


def check_freeze_backbone(learner, rng):
    """Heads of two names; what three steps change tells what learned, in which mode."""
    for head in ("fc", f"top{int(rng.integers(100))}"):
        judge_frozen(learner, rng, head)


def judge_frozen(learner, rng, head):
    """Every number after three steps tells what has learned, and in which mode."""
    sizes = {"body": (6, 4), f"{head}_old": (6, 6), f"{head}.1": (3, 6)}
    state = {f"{n}.weight": tensor(rng, *size) for n, size in sizes.items()}
    state |= {f"{n}.bias": tensor(rng, size[0]) for n, size in sizes.items()}
    for norm in ("norm", "norm2"):
        for kind in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{kind}"] = torch.tensor(rng.uniform(0.5, 2, 6)).float()
        state[f"{norm}.num_batches_tracked"] = torch.tensor(int(rng.integers(1, 99)))
    given = dict(
        head=head,
        state=state,
        mask=drawn_mask(rng, 6),
        batches=tensor(rng, 3, 16, 4),
        targets=tensor(rng, 3, 16, 3),
    )
    found = expect(learner.run(FREEZE, **given), keys=state)
    for name, value in found.items():
        expect(value, "learns", shape=state[name].shape)
    moved = {n for n in state if not close(found[n], state[n], 1e-6)}
    drifted = {n for n in moved if "running" in n or "tracked" in n}
    wanted = {f"{head}.1.weight", f"{head}.1.bias"}
    if moved - drifted != wanted:
        others = {f"{head}_old.bias", f"{head}_old.weight"}
        raise Wrong("prefix" if moved - drifted == wanted | others else "learns")

    def alike(norm, head, names=tuple(state)):
        right = trained(given, norm, head)
        return all(close(found[n], right[n], 1e-3) for n in names)

    if not drifted and any(alike(norm, True, wanted) for norm in (False, True)):
        return
    if drifted:
        known = alike(True, True) or alike(True, False)
        raise Wrong("drift", credit=1 / 3 if known else 0)
    raise Wrong("head mode", credit=2 / 3 if alike(False, False) else 0)


FEATURES = (
    MASK
    + """
class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(W.shape[1], W.shape[0])
        self.drop = Mask(mask)
        with torch.no_grad():
            self.linear.weight.copy_(W); self.linear.bias.copy_(b)
    def forward(self, x):
        sizes.append(len(x))
        return self.drop(self.linear(x).tanh())
sizes = []
body = Body().train(mode)
Z = cached_features(body, X, batch)
seen = list(sizes)
weight = body.linear.weight.requires_grad_()
try:
    total = (weight.square() * h).sum() + (Z * g).sum()
    gradient = torch.autograd.grad(total, weight)[0]
except Exception:
    gradient = None
result = [Z, gradient, body(probe).detach(), seen]
"""
)


def check_cached_features(learner, rng):
    """Batches that do not divide the rows, both modes, dropout in the model.

    A graph that is kept shows in a gradient, the mode in one more output.
    """
    for mode in (True, False):
        n, k, d, batch = int(rng.choice([11, 17, 18, 19, 21])), 5, 4, 4
        sizes = dict(X=(n, k), W=(d, k), b=(d,), g=(n, d), h=(d, k), probe=(6, k))
        given = {name: tensor(rng, *size) for name, size in sizes.items()}
        given["mask"] = drawn_mask(rng, d)
        W, b = given["W"], given["b"]
        found = learner.run(FEATURES, mode=mode, batch=batch, **given)
        Z, gradient, output, sizes = expect(found, kind=list, length=4)
        right = (given["X"] @ W.T + b).tanh()
        Z = expect(Z, "shape", shape=(n, d), finite=False)
        output = expect(output, shape=(6, d), finite=False)
        if not close(Z, right):
            if close(np.sort(Z, 0), right.sort(0).values):
                raise Wrong("order")
            raise Wrong("dropout" if mode else "values")
        if not close(gradient, 2 * W * given["h"]):
            raise Wrong("gradient", credit=0.5)
        after = (given["probe"] @ W.T + b).tanh()
        if not close(output, after * given["mask"] if mode else after):
            raise Wrong("mode", credit=2 / 3)
        if sizes != [batch] * (n // batch) + [n % batch]:
            raise Wrong("batch", credit=2 / 3)


def check_speed_up(learner, rng):
    """Random times and numbers of epochs."""
    for epochs in (1, 4, 37):
        a, b = (float(t) for t in rng.uniform(0.5, 20, 2))
        found = learner.call("speed_up", a, b, epochs)
        expected = epochs * (a + b) / (a + epochs * b)
        if close(found, expected):
            continue
        if epochs > 1 and close(found, 1 / expected):
            raise Wrong("inverse")
        raise Wrong("limit" if close(found, 1 + a / b) else "formula")


FORGET = """
import torch
net = torch.nn.Linear(W.shape[1], W.shape[0])
net.load_state_dict(dict(weight=W, bias=b))
net.register_buffer("seen", torch.zeros(3))  # changes as BatchNorm's statistics do
def train(model):
    with torch.no_grad(): model.weight.add_(step); model.seen.add_(1)
def accuracy(model):
    with torch.no_grad():
        return model(X).softmax(1).gather(1, y[:, None]).mean().item()
lost, again = (forgetting(net, train, accuracy) for _ in range(2))
result = [lost, again, {n: t.detach().clone() for n, t in net.state_dict().items()}]
"""


def check_forgetting_bug(learner, rng):
    """Accuracy that falls, accuracy that rises, and the model afterwards.

    The accuracy is a mean probability of hidden pictures: nothing that is sent is the
    answer.
    """
    for sign in (1, -1):
        lost = 0.0
        while sign * lost < 0.02:
            sizes = dict(X=(12, 4), W=(3, 4), b=(3,), step=(3, 4))
            given = {name: tensor(rng, *size) for name, size in sizes.items()}
            given["y"] = torch.tensor(rng.integers(0, 3, 12))
            X, W, b, step, y = given.values()
            before, after = (
                (X @ w.T + b).softmax(1).gather(1, y[:, None]).mean().item()
                for w in (W, W + step)
            )
            lost = before - after
        found = learner.run(FORGET, **given)
        said, again, left = expect(found, kind=list, length=3)
        said = expect(said, "amount", shape=())
        for name, value in expect(left, keys=("weight", "bias", "seen")).items():
            expect(value, shape=(W if name == "weight" else b).shape)
        if close(said, 0.0, 1e-6):
            raise Wrong("zero" if sign > 0 else "rise")
        if close(said, -lost, 1e-3):
            raise Wrong("sign")
        if not close(said, lost, 1e-3):
            raise Wrong("amount")
        if not close(again, lost, 1e-3):
            raise Wrong("changed", credit=0.5)
        for name, value in dict(weight=W, bias=b, seen=torch.zeros(3)).items():
            if not close(left[name], value, 1e-6):
                raise Wrong("changed", credit=0.5)


SHARES = {  # of the mean cost: no single row and no median stands for it
    "cost": (0.9, 0.3, 1.2, 1.2, 1.2, 1.2),
    "right": (0.4, 0.4, 1.3, 1.3, 1.3, 1.3),
}


def strategies(rng, all_traps):
    """Rows, and what each name stands for: the right one or a mistake's."""
    top, slack = float(rng.uniform(0.8, 0.9)), float(rng.uniform(0.045, 0.055))
    n, cost = int(rng.choice([25, 100, 500])), float(rng.uniform(0.1, 3))
    roles = {  # accuracy below the best, cost
        "cheapest": (0.2, cost),
        "average": (0.08, cost * rng.uniform(2, 4)),
        "right": (slack * (1 + top) / 2, cost * rng.uniform(5, 8)),
        "slack": (0.0, cost * rng.uniform(20, 30)),
    }
    for role in ("cheapest", "average", "slack"):
        if not all_traps and rng.random() < 0.4:
            roles["choice " + role] = roles.pop(role)
            roles["choice " + role] = (0.15, cost * rng.uniform(9, 60))
    for i in range(int(rng.integers(0, 4))):  # neither near nor dear, or near and dear
        near = rng.random() < 0.5
        gap, dear = (0.01, (9, 60)) if near else (0.15, (1.5, 5))
        roles[f"choice {i}"] = (gap, cost * rng.uniform(*dear))
    dear = (
        1.05 * roles["right"][1]
    )  # its first seed, and all counts together, are cheap
    roles["cost"] = (roles["right"][0], dear)
    if "slack" not in roles:
        roles["choice best"] = (0.0, cost * rng.uniform(9, 60))
    names = [
        f"{c}{int(rng.integers(100))}" for c in rng.permutation(list("abcdefghij"))
    ]
    role_of, rows = dict(zip(names[: len(roles)], roles, strict=True)), []
    for name, role in role_of.items():
        mean, price = top - roles[role][0], float(roles[role][1])
        seeds = {"right": 6, "cost": 6, "slack": 1}.get(
            role, 3
        )  # so that a sum of costs misleads
        for seed in range(seeds):
            spread = 0.12 if role == "average" else 0.06
            offset = spread * (seed % 3 - 1) if seeds > 1 else 0.0
            share = SHARES.get(role, (1,) * 6)[seed]
            rows.append((name, n, mean + offset, price * share))
        other = cost / 2 if role == "cost" else 60 * cost - price
        rows.append((name, n * 10, 1 - mean, other))
    role_of[names[-1]] = "labels"
    rows.append((names[-1], n * 10, 0.99, cost / 2))
    rows = [rows[i] for i in rng.permutation(len(rows))]
    for role in SHARES:  # the first and the last row mislead, whatever the order
        own = [i for i, row in enumerate(rows) if role_of[row[0]] == role]
        own = [i for i in own if rows[i][1] == n]
        costs = sorted((rows[i][3] for i in own), reverse=role == "right")
        for i, cost in zip([own[0], own[-1], *own[1:-1]], costs, strict=True):
            rows[i] = (*rows[i][:3], cost)
    return rows, n, slack, role_of


def check_choose_strategy(learner, rng):
    """Tables in which best, cheapest, single seeds and other counts all mislead."""
    for i in range(6):
        rows, n, slack, role_of = strategies(rng, all_traps=i == 0)
        found = expect(
            learner.call("choose_strategy", rows, n, slack), "choice", kind=str
        )
        role = role_of.get(found, "choice").partition(" ")[0]
        if role != "right":
            raise Wrong(role)
