"""Alignment against formulas and planted shifts."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from scipy.spatial.distance import cdist
from tiny import Unreadable, generator, perceptron, points, state
from torch import nn

from course_lib import training
from course_lib.errors import CourseError
from course_lib.methods import alignment, self_supervised, view_losses
from course_lib.methods.alignment import Alignment
from course_lib.training import Optimization, Recipe, freezing, photometric


def read(backbone, X):
    """Features of float inputs, as float64."""
    with torch.no_grad():
        return backbone.features(torch.as_tensor(X)).double().numpy()


def test_reversal_is_the_identity_whose_gradient_turns_round():
    x = torch.randn(5, 3, dtype=torch.double, requires_grad=True)

    def f(x, strength):
        return (torch.sin(alignment.gradient_reversal(x, strength)) ** 2).sum()

    assert torch.equal(alignment.gradient_reversal(x, 2.0), x)
    (reversed_,) = torch.autograd.grad(f(x, 0.7), x)
    h = 1e-6
    for i, j in [(0, 0), (4, 2), (2, 1)]:
        step = torch.zeros_like(x)
        step[i, j] = h
        slope = (f(x + step, 0.7) - f(x - step, 0.7)) / (2 * h)
        assert float(reversed_[i, j]) == pytest.approx(
            -0.7 * float(slope.detach()), rel=1e-6
        )


def test_the_strength_of_reversal_rises_from_nothing():
    values = [alignment.reversal_strength(s, 40) for s in range(41)]
    assert values == pytest.approx(np.tanh(5 * np.arange(41) / 40))


def test_the_domain_classifier_learns_and_the_features_unlearn():
    adversary = alignment.DomainClassifier(4, hidden=8, seed=1)
    X, Y = (torch.randn(n, 4, generator=generator(n)) for n in (6, 5))
    X, Y = X.requires_grad_(), Y.requires_grad_()
    value = adversary(X, Y, 30, 100)
    logits = adversary.net(torch.cat([X, Y]))
    chance = logits.softmax(dim=1)
    plain = -torch.cat([chance[:6, 0], chance[6:, 1]]).log().mean()
    assert float(value.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)
    own = list(adversary.parameters())
    got = torch.autograd.grad(value, [X, Y, *own])
    expected = torch.autograd.grad(plain, [X, Y, *own])
    for k, (a, b) in enumerate(zip(got, expected)):
        factor = -np.tanh(1.5) if k < 2 else 1.0
        torch.testing.assert_close(a, factor * b)


def numpy_mmd(X, Y, sigmas):
    value = 0.0
    for sigma in sigmas:
        xx, yy, xy = (
            np.exp(-(cdist(A, B) ** 2) / (2 * sigma**2))
            for A, B in ((X, X), (Y, Y), (X, Y))
        )
        off = [K[~np.eye(len(K), dtype=bool)].mean() for K in (xx, yy)]
        value += off[0] + off[1] - 2 * xy.mean()
    return value / len(sigmas)


def test_mmd_is_the_mean_of_unbiased_gaussian_estimates():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(9, 4)), 30 + 2 * rng.normal(size=(12, 4))
    value = alignment.mmd(torch.tensor(X), torch.tensor(Y), [0.5, 2.0])
    assert float(value) == pytest.approx(numpy_mmd(X, Y, [0.5, 2.0]), abs=1e-12)
    Z = np.concatenate([X, Y])
    distances = np.sort(cdist(Z, Z)[np.triu_indices(21, 1)])
    assert len(distances) % 2 == 0  # the lower of the two in the middle
    median = distances[len(distances) // 2 - 1]
    value = alignment.mmd(torch.tensor(X), torch.tensor(Y))
    sigmas = median * np.array([0.25, 0.5, 1, 2, 4])
    assert float(value) == pytest.approx(numpy_mmd(X, Y, sigmas), abs=1e-10)


def test_mmd_of_equal_distributions_is_zero_on_average_only():
    g = generator()
    values = [
        float(alignment.mmd(*torch.randn(2, 10, 3, generator=g))) for _ in range(300)
    ]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error < 0.01
    assert min(values) < 0 < max(values)
    far = alignment.mmd(torch.randn(10, 3, generator=g), 5 + torch.ones(10, 3))
    assert float(far) > 10 * max(values) / 2


def test_mmd_of_collapsed_features_is_no_nan():
    X = torch.ones(4, 3, requires_grad=True)
    value = alignment.mmd(X, torch.ones(4, 3))
    (gradient,) = torch.autograd.grad(value, X)
    assert float(value.detach()) == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(gradient).all()


def test_coral_is_the_distance_of_the_covariances():
    rng = np.random.default_rng(1)
    X, Y = (
        rng.normal(size=(9, 4)),
        3 + rng.normal(size=(7, 4)) @ rng.normal(size=(4, 4)),
    )
    difference = np.cov(X, rowvar=False) - np.cov(Y, rowvar=False)
    expected = np.linalg.norm(difference, "fro") ** 2 / (4 * 4**2)
    value = alignment.coral(torch.tensor(X), torch.tensor(Y))
    assert float(value) == pytest.approx(expected, rel=1e-12)
    assert float(alignment.coral(torch.tensor(X), torch.tensor(X + 7))) < 1e-25


@pytest.mark.parametrize(
    "loss",
    [
        lambda X, Y: alignment.mmd(X, Y, [0.7, 1.5]),
        alignment.coral,
        lambda X, Y: view_losses.barlow_twins_loss(X, Y, 0.1),
    ],
)
def test_gradients_of_the_losses(loss):
    X, Y = (
        torch.randn(5, 3, dtype=torch.double, generator=generator(s)) for s in (0, 1)
    )
    assert torch.autograd.gradcheck(loss, (X.requires_grad_(), Y.requires_grad_()))


@pytest.mark.parametrize(
    "loss",
    [alignment.mmd, alignment.coral, view_losses.barlow_twins_loss],
)
@pytest.mark.parametrize("shapes", [((4, 3), (4, 2)), ((1, 3), (4, 3)), ((4,), (4, 3))])
def test_shapes_that_do_not_fit_are_named(loss, shapes):
    with pytest.raises(CourseError, match="(?s)shapes.*Expected.*larger"):
        loss(*(torch.zeros(shape) for shape in shapes))


def test_one_step_descends_the_sum_of_both_losses():
    X, y = points(24)
    T, _ = points(24, gain=-1.0, seed=1)
    backbone, reference = perceptron(), perceptron()
    optimization = Optimization(
        optimizer="sgd", momentum=0.0, weight_decay=0.0, warmup=0
    )
    history = alignment.fit_aligned(
        backbone, (X, y), None, Alignment("coral", T, 3.0), steps=1, lr=0.1,
        recipe=Recipe(batch_size=24, optimization=optimization),
    )  # fmt: skip
    net = reference.model
    F_s, F_t = (reference.features(torch.tensor(inputs)) for inputs in (X, T))
    source = nn.functional.cross_entropy(net(torch.tensor(X)), torch.tensor(y))
    align = alignment.coral(F_s, F_t)
    own = list(net.parameters())
    gradients = torch.autograd.grad(source + 3 * align, own)
    for p, q, g in zip(backbone.model.parameters(), own, gradients):
        torch.testing.assert_close(p, q - 0.1 * g)
    assert history.train_loss == pytest.approx([float(source.detach())], rel=1e-5)
    assert history.alignment == pytest.approx([float(align.detach())], rel=1e-4)


def test_with_nothing_to_align_it_is_plain_training():
    """The same source batches as training.fit draws from the same seed."""
    source, T = points(50), points(40, seed=1)[0]
    plain, joint = perceptron(), perceptron()
    training.fit(plain, source, steps=30, seed=3)
    seen = []

    def nothing(F_s, F_t, step, steps):
        seen.append((len(F_s), len(F_t), step, steps))
        return 0 * F_t.sum()

    history = alignment.fit_aligned(
        joint, source, source, Alignment(nothing, T), steps=30, seed=3
    )
    for p, q in zip(plain.model.parameters(), joint.model.parameters()):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)
    assert seen[0] == (32, 32, 0, 30) and seen[-1][2:] == (29, 30)
    assert seen[1][0] == 18 and seen[1][1] <= 18
    assert len(history.val_loss) == len(history.alignment) == len(history.step) == 15
    final = training.evaluate(joint, source)
    assert history.val_loss[-1] == pytest.approx(final["loss"])
    assert history.val_accuracy[-1] == final["accuracy"]
    assert history.best_epoch == 14 and not joint.model.training
    assert alignment.AlignedHistory.from_dict(history.to_dict()) == history


def test_batchnorm_sees_source_and_target_as_one_batch():
    source, target = tiny.images(6), tiny.images(6, seed=1)
    target = replace(target, images=255 - target.images)
    backbone = tiny.resnet()
    before = backbone.model.bn1.running_mean.clone()
    with torch.no_grad():
        x = backbone.preprocess(np.concatenate([source.images, target.images]))
        mixed = backbone.model.conv1(x).mean(dim=(0, 2, 3))
    alignment.fit_aligned(
        backbone, source, None, Alignment("mmd", target), steps=1,
        recipe=Recipe(batch_size=6),
    )  # fmt: skip
    torch.testing.assert_close(
        backbone.model.bn1.running_mean,
        0.9 * before + 0.1 * mixed,
        atol=1e-5,
        rtol=1e-4,
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dann", "mmd", "coral"])
def test_target_labels_are_never_read_and_the_seed_decides(method):
    source, target = tiny.images(12), tiny.images(12, seed=1)

    def trained(target, seed=0):
        backbone = tiny.resnet()
        torch.manual_seed(seed + 50)
        drawn = torch.rand(1)
        torch.manual_seed(seed + 50)
        alignment.fit_aligned(
            backbone, source, None,
            Alignment(method, target, augment=photometric.random_noise(0.1)),
            steps=3, seed=seed,
            recipe=Recipe(augment=training.random_flips(), batch_size=6),
        )  # fmt: skip
        assert torch.equal(torch.rand(1), drawn)
        return state(backbone)

    first = trained(target)
    for same in (
        Unreadable(target),
        target.images,
        replace(target, labels=0 * target.labels),
    ):
        again = trained(same)
        assert all(torch.equal(first[k], again[k]) for k in first)
    other = trained(target, seed=1)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


def median_mmd(X, Y):
    return numpy_mmd(X, Y, [np.median(cdist(X, Y))])


def covariance_gap(X, Y):
    return np.linalg.norm(np.cov(X.T) - np.cov(Y.T))


@pytest.mark.slow
@pytest.mark.parametrize(
    "method, weight, target, distance",
    [
        ("mmd", 1.0, {"shift": 3.0}, median_mmd),
        ("coral", 100.0, {"gain": -1.0}, covariance_gap),
    ],
)
def test_alignment_shortens_the_distance_it_is_named_after(
    method, weight, target, distance
):
    source, T = points(), points(**target, seed=1)[0]
    found = []
    for factor in (0.0, weight):
        backbone = perceptron()
        alignment.fit_aligned(
            backbone, source, None, Alignment(method, T, factor), steps=150
        )
        F_s, F_t = read(backbone, source[0]), read(backbone, T)
        scale = np.sqrt(np.concatenate([F_s, F_t]).var(axis=0).sum())
        found.append(distance(F_s / scale, F_t / scale))
        assert training.evaluate(backbone, source)["accuracy"] > 0.95
    assert found[1] < 0.5 * found[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("method", ["dann", "mmd"])
def test_alignment_recovers_a_shifted_target(method, seed):
    source = points(seed=seed)
    T, _ = points(shift=3.0, seed=100 + seed)
    unseen = points(shift=3.0, seed=200 + seed)
    plain, aligned = perceptron(seed), perceptron(seed)
    training.fit(plain, source, steps=300, seed=seed)
    alignment.fit_aligned(
        aligned, source, None, Alignment(method, T), steps=300, seed=seed
    )
    reached = [training.evaluate(b, unseen)["accuracy"] for b in (plain, aligned)]
    assert reached[0] < 0.6 < 0.7 < reached[1]


@pytest.mark.parametrize(
    "model, options, word",
    [
        (tiny.resnet(), {"method": "danm"}, "danm.*'coral'"),
        (tiny.resnet(), {"target": [1, 2]}, "type list"),
        (tiny.resnet(), {"target": (tiny.images(4).images, [0])}, "type tuple"),
        (tiny.resnet(4), {}, "4 outputs.*3 classes"),
        (tiny.resnet().model, {}, "vision Backbone"),
        (freezing.freeze_backbone(tiny.resnet()), {}, "before the head is frozen"),
        (freezing.freeze(tiny.resnet()), {"method": "mmd"}, "Nothing to train"),
        (tiny.resnet(), {"steps": 0}, "whole number"),
    ],
)
def test_unusable_alignment_is_named(model, options, word):
    options = dict(method="dann", steps=1, target=tiny.images(6)) | options
    drawn = Alignment(options.pop("method"), options.pop("target"))
    with pytest.raises(CourseError, match=f"(?s){word}"):
        alignment.fit_aligned(model, tiny.images(6), None, drawn, **options)


def test_a_text_encoder_is_refused():
    encoder = replace(perceptron(), kind="text")
    X, y = points(8)
    with pytest.raises(CourseError, match="vision Backbone"):
        alignment.fit_aligned(encoder, (X, y), None, Alignment("mmd", X), steps=1)
    with pytest.raises(CourseError, match="vision Backbone"):
        self_supervised.continue_pretraining(encoder, X, steps=1)
