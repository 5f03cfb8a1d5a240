"""Trusted checks of exercise 03: they run in the grader and are never released."""

import torch

from course_lib.grading.checks import Wrong, close, shape

HINTS = {
    "learns": "What learns must be exactly the parameters of the head.",
    "prefix": "A module whose name only begins like the head's is frozen too: compare "
    "with the name and a dot.",
    "drift": "A tensor of the frozen part changes in training: BatchNorm's running "
    "statistics are no parameters, the mode decides about them.",
    "head mode": "The head is to be trained: it must be in train mode, or its dropout "
    "is switched off.",
    "head stuck": "The head does not learn.",
    "shape": "The result has the wrong shape: one row of features for each row of X, "
    "the last batch included.",
    "order": "The rows are in another order than those of X.",
    "dropout": "The features are random or depend on the batch: the model must be in "
    "eval mode while they are computed.",
    "gradient": "The features still carry a gradient: the whole graph would be kept.",
    "mode": "The model must be left in the mode in which it came.",
    "values": "The features are not those of the model.",
    "formula": "Naive: E (t_backbone + t_head). Cached: t_backbone + E t_head. The "
    "factor is the first divided by the second.",
    "inverse": "The factor is upside down: caching is faster, so it is 1 or more.",
    "limit": "This is the limit for many epochs, not the factor for this number.",
    "zero": "The loss is always 0: both names mean the same model.",
    "sign": "The sign: lost accuracy is positive when it fell.",
    "changed": "The model that was given has been trained: train a copy.",
    "amount": "This is not the accuracy before minus the accuracy after.",
    "slack": "The strategy chosen is the best one: a cheaper one within the slack "
    "comes first.",
    "cheapest": "The cheapest of all is taken, however bad it is.",
    "average": "Several rows of one strategy are seeds: average before comparing.",
    "labels": "Only rows with the number of labels asked for count.",
    "choice": "Another strategy is the cheapest within the slack.",
}

NET = """
import torch
from torch import nn
torch.manual_seed(seed)
net = nn.ModuleDict()
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.fc_old = nn.Linear(6, 6)
        self.fc = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3))
    def forward(self, x):
        return self.fc(self.fc_old(self.norm(self.body(x)).relu()))
net = Net().train()
freeze_backbone(net, "fc")
learns = sorted(n for n, p in net.named_parameters() if p.requires_grad)
before = {n: t.clone() for n, t in net.state_dict().items()}
modes = {n: m.training for n, m in net.named_modules()}
optimizer = torch.optim.SGD(
    [p for p in net.parameters() if p.requires_grad] or [torch.zeros(1)], 0.1)
for _ in range(3 if learns else 0):
    loss = net(torch.randn(16, 4)).square().sum()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
moved = sorted(n for n, t in net.state_dict().items() if not torch.equal(t, before[n]))
result = {"learns": learns, "moved": moved, "head": modes["fc.0"]}
"""


def check_freeze_backbone(learner, rng):
    """What learns, what moves in three steps, and the mode of the head."""
    found = learner.run(NET, seed=int(rng.integers(1 << 30)))
    head = ["fc.1.bias", "fc.1.weight"]
    if found["learns"] != head:
        more = set(found["learns"]) ^ set(head)
        raise Wrong("prefix" if more == {"fc_old.bias", "fc_old.weight"} else "learns")
    if not set(head) & set(found["moved"]):
        raise Wrong("head stuck")
    if found["moved"] != head:
        raise Wrong("drift", credit=1 / 3)
    if found["head"] is not True:
        raise Wrong("head mode", credit=2 / 3)


FEATURES = """
import torch
from torch import nn
class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(W.shape[1], W.shape[0])
        self.drop = nn.Dropout(0.5)
        with torch.no_grad():
            self.linear.weight.copy_(W); self.linear.bias.copy_(b)
    def forward(self, x):
        return self.drop(self.linear(x).tanh())
body = Body().train(mode)
Z = cached_features(body, X, batch)
result = [Z, bool(getattr(Z, "requires_grad", False)), body.training]
"""


def check_cached_features(learner, rng):
    """Batches that do not divide the rows, both modes, dropout in the model."""
    for mode in (True, False):
        n, k, d, batch = 11 + int(rng.integers(8)), 5, 4, 4
        n += n % batch == 0
        given = {
            name: torch.tensor(rng.standard_normal(size), dtype=torch.float32)
            for name, size in dict(X=(n, k), W=(d, k), b=(d,)).items()
        }
        Z, gradient, left = learner.run(FEATURES, mode=mode, batch=batch, **given)
        expected = (given["X"] @ given["W"].T + given["b"]).tanh()
        if shape(Z) != (n, d):
            raise Wrong("shape")
        if not close(Z, expected):
            if close(torch.as_tensor(Z).sort(0).values, expected.sort(0).values):
                raise Wrong("order")
            raise Wrong("dropout" if mode else "values")
        if gradient:
            raise Wrong("gradient", credit=0.5)
        if left is not mode:
            raise Wrong("mode", credit=2 / 3)


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
net = torch.nn.Linear(1, 1, bias=False)
with torch.no_grad(): net.weight.fill_(start)
def train(model):
    with torch.no_grad(): model.weight.add_(step)
def accuracy(model):
    return model.weight.item()
lost = forgetting(net, train, accuracy)
result = [lost, net.weight.item()]
"""


def check_forgetting_bug(learner, rng):
    """Accuracy that falls, accuracy that rises, and the model afterwards."""
    for sign in (-1, 1):
        start, step = float(rng.uniform(0.5, 1)), sign * float(rng.uniform(0.1, 0.4))
        lost, left = learner.run(FORGET, start=start, step=step)
        if close(lost, 0.0, 1e-6):
            raise Wrong("zero")
        if close(lost, step):
            raise Wrong("sign")
        if not close(lost, -step):
            raise Wrong("amount")
        if not close(left, start):
            raise Wrong("changed", credit=0.5)


def check_choose_strategy(learner, rng):
    """Tables in which best, cheapest, single seeds and other counts all mislead."""
    for _ in range(4):
        names = [str(n) for n in rng.permutation(["a", "b", "c", "d"])]
        right, best, cheap, lucky = names
        top, n = float(rng.uniform(0.8, 0.9)), int(rng.choice([25, 100, 500]))
        mean = {right: top - 0.03, best: top, cheap: top - 0.2, lucky: top - 0.08}
        cost = {right: 10.0, best: 40.0, cheap: 1.0, lucky: 5.0}
        rows = []
        for name in names:
            for offset in (-0.06, 0.0, 0.06):
                rows.append((name, n, mean[name] + offset, cost[name]))
            rows.append((name, n * 10, 1 - mean[name], 50 - cost[name]))
        rows.append(("e", n * 10, 0.99, 0.5))
        rows = [rows[i] for i in rng.permutation(len(rows))]
        found = learner.call("choose_strategy", rows, n, 0.05)
        if found == right:
            continue
        known = {best: "slack", cheap: "cheapest", lucky: "average", "e": "labels"}
        raise Wrong(known.get(found, "choice") if isinstance(found, str) else "choice")
