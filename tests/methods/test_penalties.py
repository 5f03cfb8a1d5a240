"""L2-SP: the formula, its start, its strength."""

import pytest
import tiny
import torch
from tiny import perceptron, points, state

from course_lib import training
from course_lib.errors import CourseError
from course_lib.methods.penalties import ewc, fisher_diagonal, l2_sp
from course_lib.training import Objective, Optimization, Recipe, freezing


def test_the_penalty_and_its_gradient_are_the_formula():
    start, model = tiny.resnet(5, seed=0), tiny.resnet(3, seed=1)
    value = l2_sp(model, start, 0.3, beta=0.02)()
    origin = dict(start.model.named_parameters())
    own = dict(model.model.named_parameters())
    gradients = dict(zip(own, torch.autograd.grad(value, list(own.values()))))
    expected = 0.0
    for name, p in own.items():
        p0 = origin[name].detach() if name.split(".")[0] != "fc" else 0 * p.detach()
        factor = 0.02 if name.startswith("fc.") else 0.3
        expected += factor / 2 * float(((p.detach() - p0).double() ** 2).sum())
        torch.testing.assert_close(gradients[name], factor * (p.detach() - p0))
    assert float(value.detach()) == pytest.approx(expected, rel=1e-5)


def test_the_start_is_what_it_was_and_the_head_is_always_new():
    model = freezing.freeze_until(tiny.resnet(), "layer3")
    penalty = l2_sp(model, model, 2.0, beta=0.0)
    weight, head = model.model.layer4[0].conv1.weight, model.model.fc.weight
    assert float(penalty().detach()) == 0.0
    with torch.no_grad():
        weight += 0.5
        head += 1.0
        model.model.conv1.weight += 1.0  # frozen: does not count
    assert float(penalty().detach()) == pytest.approx(0.25 * weight.numel(), rel=1e-5)
    saved = state(tiny.resnet())
    same = l2_sp(model, saved, 2.0, beta=0.0)
    assert float(same().detach()) == pytest.approx(0.25 * weight.numel(), rel=1e-5)
    plain = l2_sp(model.model, saved, 2.0, beta=0.0)  # fc by its shape
    assert float(plain().detach()) == pytest.approx(
        0.25 * weight.numel() + head.numel(), rel=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("optimizer, lr", [("sgd", 1e-4), ("adamw", 1e-3)])
def test_a_huge_strength_holds_the_weights_at_the_start(optimizer, lr):
    source = points(60)
    away = []
    for strength in (0.0, 1e3):
        backbone = perceptron()
        before = state(backbone)
        penalty = l2_sp(backbone, backbone, strength, beta=0.0)
        training.fit(
            backbone,
            source,
            steps=200,
            lr=lr * (100 if strength == 0 else 1),
            recipe=Recipe(
                optimization=Optimization(optimizer=optimizer, weight_decay=0.0),
                objective=Objective(penalty=penalty),
            ),
        )
        after = state(backbone)
        squares = [((after[k] - before[k]) ** 2).sum() for k in before if k[0] != "4"]
        away.append(float(sum(squares)) ** 0.5)
        assert not torch.equal(after["4.weight"], before["4.weight"])
    assert away[1] < 0.02 < 0.5 < away[0]


def test_penalties_without_meaning_are_refused():
    with pytest.raises(CourseError, match="same architecture"):
        l2_sp(tiny.resnet(), tiny.mlp(), 0.1)
    with pytest.raises(CourseError, match="strength=-1"):
        l2_sp(tiny.resnet(), tiny.resnet(), -1)


def test_fisher_of_a_linear_classifier_is_the_closed_form():
    torch.manual_seed(0)
    net, X = torch.nn.Linear(4, 3).double(), torch.randn(50, 4).double()
    found = fisher_diagonal(net, X, batch_size=16)
    P = net(X).softmax(1).detach()
    spread = P * (1 - P)  # of d log p / d z_k over y ~ p
    torch.testing.assert_close(found["bias"], spread.mean(0))
    torch.testing.assert_close(found["weight"], spread.T @ X**2 / len(X))


def test_fisher_is_the_curvature_that_finite_differences_see():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)
    ).double()
    X, h = torch.randn(20, 3).double(), 1e-3
    found = fisher_diagonal(net, X)["0.weight"][1, 2]
    P, weight = net(X).softmax(1).detach(), net[0].weight
    parted = []
    for step in (h, -h):  # KL(p || p') = F h^2 / 2 + O(h^3)
        with torch.no_grad():
            weight[1, 2] += step
            away = (P * (P.log() - net(X).log_softmax(1))).sum(1).mean()
            weight[1, 2] -= step
        parted.append(2 * away / h**2)
    assert float(found) == pytest.approx(float(sum(parted) / 2), rel=1e-4)


def test_ewc_is_its_formula_and_holds_only_what_matters():
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 2)
    penalty = ewc(net, {"weight": torch.tensor([[1.0, 0.0], [2.0, 3.0]])}, strength=4.0)
    assert float(penalty().detach()) == 0
    with torch.no_grad():
        net.weight += torch.tensor([[0.5, 9.0], [1.0, 0.0]])
        net.bias += 5
    assert float(penalty().detach()) == pytest.approx(2 * (0.25 + 2.0), rel=1e-5)
    with pytest.raises(CourseError, match="ewc"):
        ewc(net, {"other": torch.ones(1)}, 1.0)
    with pytest.raises(CourseError, match="nothing learns"):
        fisher_diagonal(net.requires_grad_(False), torch.ones(2, 2))
