"""Adaptation without target labels, and L2-SP, against formulas and planted shifts."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from scipy import ndimage
from scipy.spatial.distance import cdist
from torch import nn

from course_lib import training
from course_lib.errors import CourseError
from course_lib.methods import adaptation
from course_lib.models import features
from course_lib.models.zoo import Backbone
from course_lib.training import Objective, Optimization, Recipe, freezing


def state(model):
    net = features.network(model)
    return {k: v.clone() for k, v in net.state_dict().items()}


def moved(before, model):
    after = features.network(model).state_dict()
    return {k for k in before if not torch.equal(before[k], after[k])}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def perceptron(seed=0):
    """A Backbone for points in the plane, with 16 features and two classes."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2)
    )
    return Backbone(net, None, "tiny/perceptron", "vision", "4", {}, 16)


def points(n=300, shift=0.0, gain=1.0, seed=0):
    """Both coordinates tell the class; in the target the second one has changed."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.normal(0, 0.5, (n, 2)) + (2 * y[:, None] - 1)
    X[:, 1] = gain * X[:, 1] + shift
    return X.astype(np.float32), y


def read(backbone, X):
    """Features of float inputs, as float64."""
    with torch.no_grad():
        return backbone.features(torch.as_tensor(X)).double().numpy()


class Unreadable:
    """Images whose labels nobody may look at."""

    def __init__(self, data):
        self.images, self.classes = data.images, data.classes

    @property
    def labels(self):
        raise AssertionError("the target's labels were read")


# -- gradient reversal ------------------------------------------------------------


def test_reversal_is_the_identity_whose_gradient_turns_round():
    x = torch.randn(5, 3, dtype=torch.double, requires_grad=True)

    def f(x, strength):
        return (torch.sin(adaptation.gradient_reversal(x, strength)) ** 2).sum()

    assert torch.equal(adaptation.gradient_reversal(x, 2.0), x)
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
    values = [adaptation.reversal_strength(s, 40) for s in range(41)]
    assert values == pytest.approx(np.tanh(5 * np.arange(41) / 40))


def test_the_domain_classifier_learns_and_the_features_unlearn():
    adversary = adaptation.DomainClassifier(4, hidden=8, seed=1)
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


# -- distances --------------------------------------------------------------------


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
    value = adaptation.mmd_loss(torch.tensor(X), torch.tensor(Y), [0.5, 2.0])
    assert float(value) == pytest.approx(numpy_mmd(X, Y, [0.5, 2.0]), abs=1e-12)
    Z = np.concatenate([X, Y])
    distances = np.sort(cdist(Z, Z)[np.triu_indices(21, 1)])
    assert len(distances) % 2 == 0  # the lower of the two in the middle
    median = distances[len(distances) // 2 - 1]
    value = adaptation.mmd_loss(torch.tensor(X), torch.tensor(Y))
    sigmas = median * np.array([0.25, 0.5, 1, 2, 4])
    assert float(value) == pytest.approx(numpy_mmd(X, Y, sigmas), abs=1e-10)


def test_mmd_of_equal_distributions_is_zero_on_average_only():
    g = generator()
    values = [
        float(adaptation.mmd_loss(*torch.randn(2, 10, 3, generator=g)))
        for _ in range(300)
    ]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error < 0.01
    assert min(values) < 0 < max(values)
    far = adaptation.mmd_loss(torch.randn(10, 3, generator=g), 5 + torch.ones(10, 3))
    assert float(far) > 10 * max(values) / 2


def test_mmd_of_collapsed_features_is_no_nan():
    X = torch.ones(4, 3, requires_grad=True)
    value = adaptation.mmd_loss(X, torch.ones(4, 3))
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
    value = adaptation.coral_loss(torch.tensor(X), torch.tensor(Y))
    assert float(value) == pytest.approx(expected, rel=1e-12)
    assert float(adaptation.coral_loss(torch.tensor(X), torch.tensor(X + 7))) < 1e-25


@pytest.mark.parametrize(
    "loss",
    [
        lambda X, Y: adaptation.mmd_loss(X, Y, [0.7, 1.5]),
        adaptation.coral_loss,
        lambda X, Y: adaptation.barlow_twins_loss(X, Y, 0.1),
    ],
)
def test_gradients_of_the_losses(loss):
    X, Y = (
        torch.randn(5, 3, dtype=torch.double, generator=generator(s)) for s in (0, 1)
    )
    assert torch.autograd.gradcheck(loss, (X.requires_grad_(), Y.requires_grad_()))


@pytest.mark.parametrize(
    "loss",
    [adaptation.mmd_loss, adaptation.coral_loss, adaptation.barlow_twins_loss],
)
@pytest.mark.parametrize("shapes", [((4, 3), (4, 2)), ((1, 3), (4, 3)), ((4,), (4, 3))])
def test_shapes_that_do_not_fit_are_named(loss, shapes):
    with pytest.raises(CourseError, match="(?s)shapes.*Expected.*larger"):
        loss(*(torch.zeros(shape) for shape in shapes))


# -- training with alignment ------------------------------------------------------


def test_one_step_descends_the_sum_of_both_losses():
    X, y = points(24)
    T, _ = points(24, gain=-1.0, seed=1)
    backbone, reference = perceptron(), perceptron()
    optimization = Optimization(
        optimizer="sgd", momentum=0.0, weight_decay=0.0, warmup=0
    )
    history = adaptation.fit_aligned(
        backbone, (X, y), None, T, method="coral", weight=3.0, steps=1, lr=0.1,
        recipe=Recipe(batch_size=24, optimization=optimization),
    )  # fmt: skip
    net = reference.model
    F_s, F_t = (reference.features(torch.tensor(inputs)) for inputs in (X, T))
    source = nn.functional.cross_entropy(net(torch.tensor(X)), torch.tensor(y))
    align = adaptation.coral_loss(F_s, F_t)
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

    history = adaptation.fit_aligned(
        joint, source, source, T, method=nothing, steps=30, seed=3
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
    assert adaptation.AlignedHistory.from_dict(history.to_dict()) == history


def test_batchnorm_sees_source_and_target_as_one_batch():
    source, target = tiny.images(6), tiny.images(6, seed=1)
    target = replace(target, images=255 - target.images)
    backbone = tiny.resnet()
    before = backbone.model.bn1.running_mean.clone()
    with torch.no_grad():
        x = backbone.preprocess(np.concatenate([source.images, target.images]))
        mixed = backbone.model.conv1(x).mean(dim=(0, 2, 3))
    adaptation.fit_aligned(
        backbone, source, None, target, method="mmd", steps=1,
        recipe=Recipe(batch_size=6),
    )  # fmt: skip
    torch.testing.assert_close(
        backbone.model.bn1.running_mean,
        0.9 * before + 0.1 * mixed,
        atol=1e-5,
        rtol=1e-4,
    )


@pytest.mark.parametrize("method", ["dann", "mmd", "coral"])
def test_target_labels_are_never_read_and_the_seed_decides(method):
    source, target = tiny.images(12), tiny.images(12, seed=1)

    def trained(target, seed=0):
        backbone = tiny.resnet()
        torch.manual_seed(seed + 50)
        drawn = torch.rand(1)
        torch.manual_seed(seed + 50)
        adaptation.fit_aligned(
            backbone, source, None, target, method=method, steps=3, seed=seed,
            augment_target=adaptation.random_noise(0.1),
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
        adaptation.fit_aligned(
            backbone, source, None, T, method=method, weight=factor, steps=150
        )
        F_s, F_t = read(backbone, source[0]), read(backbone, T)
        scale = np.sqrt(np.concatenate([F_s, F_t]).var(axis=0).sum())
        found.append(distance(F_s / scale, F_t / scale))
        assert training.evaluate(backbone, source)["accuracy"] > 0.95
    assert found[1] < 0.5 * found[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("method", ["dann", "mmd"])
def test_alignment_recovers_a_shifted_target(method, seed):
    source = points(seed=seed)
    T, _ = points(shift=3.0, seed=100 + seed)
    unseen = points(shift=3.0, seed=200 + seed)
    plain, aligned = perceptron(seed), perceptron(seed)
    training.fit(plain, source, steps=300, seed=seed)
    adaptation.fit_aligned(
        aligned, source, None, T, method=method, steps=300, seed=seed
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
    target = options.pop("target")
    with pytest.raises(CourseError, match=f"(?s){word}"):
        adaptation.fit_aligned(model, tiny.images(6), None, target, **options)


def test_a_text_encoder_is_refused():
    encoder = replace(perceptron(), kind="text")
    X, y = points(8)
    with pytest.raises(CourseError, match="vision Backbone"):
        adaptation.fit_aligned(encoder, (X, y), None, X, method="mmd", steps=1)
    with pytest.raises(CourseError, match="vision Backbone"):
        adaptation.continue_pretraining(encoder, X, steps=1)


# -- BatchNorm statistics ---------------------------------------------------------


def inputs_by_hand(backbone, images):
    """Running statistics in float64: everything in one batch, momentum one."""
    net = copy.deepcopy(backbone.model).double().train()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        net(backbone.preprocess(images).double())
    return {k: v for k, v in net.state_dict().items() if "running" in k}


@pytest.mark.parametrize("batch_size", [7, 64])
def test_adapted_statistics_are_those_of_all_target_images(batch_size):
    backbone, target = tiny.resnet(), tiny.images(15, seed=2)  # 7 + 7 + 1
    before = state(backbone)
    adapted = adaptation.adapt_batchnorm(backbone, Unreadable(target), batch_size)
    after, expected = state(adapted), inputs_by_hand(backbone, target.images)
    for name, value in expected.items():
        assert float((after[name] - value).abs().max()) < 1e-5
    assert not moved(before, backbone)
    assert moved(before, adapted) == set(expected) and not adapted.model.training
    x = backbone.preprocess(target.images).double().numpy()
    weight = backbone.model.conv1.weight.detach().double()
    maps = nn.functional.conv2d(torch.tensor(x), weight, stride=2, padding=3).numpy()
    np.testing.assert_allclose(
        after["bn1.running_mean"], maps.mean(axis=(0, 2, 3)), atol=1e-5
    )
    np.testing.assert_allclose(
        after["bn1.running_var"], maps.var(axis=(0, 2, 3), ddof=0), rtol=2e-3
    )


def test_frozen_layers_adapt_too_and_momentum_moves_part_of_the_way():
    backbone = freezing.freeze_backbone(tiny.resnet())
    freezing.freeze_batchnorm(backbone)
    target = tiny.images(9, seed=2)
    before = backbone.model.bn1.running_mean.clone()
    exact = adaptation.adapt_batchnorm(backbone, target)
    partly = adaptation.adapt_batchnorm(backbone, target, momentum=0.25)
    moment = exact.model.bn1.running_mean
    torch.testing.assert_close(
        partly.model.bn1.running_mean, 0.75 * before + 0.25 * moment
    )
    assert partly.model.bn1.momentum == backbone.model.bn1.momentum
    assert not any(layer.training for layer in partly.model.modules())


def test_adapted_statistics_undo_another_camera():
    """Half the contrast about the mean colour: the same features after adaptation."""
    backbone, data = tiny.resnet(), tiny.images(12)
    backbone = adaptation.adapt_batchnorm(backbone, data)
    dim = replace(data, images=(data.images // 2 + 64).astype(np.uint8))
    reference = features.extract(backbone, data)
    scale = np.linalg.norm(reference - reference.mean(axis=0))
    apart = np.linalg.norm(features.extract(backbone, dim) - reference)
    adapted = adaptation.adapt_batchnorm(backbone, dim)
    near = np.linalg.norm(features.extract(adapted, dim) - reference)
    assert near < 0.25 * apart and apart > 0.5 * scale


def test_statistics_that_cannot_be_adapted():
    with pytest.raises(CourseError, match="(?s)tiny/vit has no BatchNorm.*LayerNorm"):
        adaptation.adapt_batchnorm(tiny.vit(), tiny.images(4))
    for options in ({"momentum": 0.0}, {"momentum": 1.5}):
        with pytest.raises(CourseError, match="momentum"):
            adaptation.adapt_batchnorm(tiny.resnet(), tiny.images(4), **options)
    with pytest.raises(CourseError, match="one image"):
        adaptation.adapt_batchnorm(tiny.resnet(), tiny.images(1))


# -- augmentations ----------------------------------------------------------------


@pytest.mark.parametrize(
    "augment",
    [
        adaptation.random_noise(0.5),
        adaptation.random_blur(1.5),
        adaptation.random_grey(0.5),
        adaptation.random_colour(0.4),
        adaptation.random_contrast(0.4),
        adaptation.random_brightness(0.4),
        adaptation.Mixup(0.5),
        adaptation.default_views(),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_augmentations_keep_shape_and_type_and_follow_the_generator(augment, dtype):
    x = torch.randn(9, 3, 12, 10, generator=generator()).to(dtype)
    kept = x.clone()
    torch.manual_seed(0)
    first, again, other = (augment(x, generator(s)) for s in (1, 1, 2))
    assert first.shape == x.shape and first.dtype == dtype
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(x, kept)
    changes = (first - x).abs().flatten(1).amax(dim=1)
    assert len(changes.unique()) > 3  # images are treated differently
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    augment(x, generator())
    assert torch.equal(torch.rand(1), expected)


def test_noise_is_white_and_of_many_strengths():
    x = torch.zeros(200, 3, 16, 16)
    strength = adaptation.random_noise(0.4)(x, generator()).flatten(1).std(dim=1)
    assert strength.max() < 0.42 and strength.min() < 0.05
    assert float(strength.mean()) == pytest.approx(0.2, abs=0.03)


def test_blur_is_a_gaussian_of_the_drawn_width():
    x = torch.randn(6, 3, 14, 11, generator=generator(), dtype=torch.double)
    blurred = adaptation.random_blur(1.5)(x, generator(4))
    sigmas = 1.5 * torch.rand(6, generator=generator(4))
    assert float(sigmas.max()) > 0.8
    for image, out, sigma in zip(x, blurred, sigmas.tolist()):
        for channel, got in zip(image.numpy(), out.numpy()):
            expected = ndimage.gaussian_filter(channel, sigma, radius=5, mode="nearest")
            np.testing.assert_allclose(got, expected, atol=1e-6)
    assert torch.equal(adaptation.random_blur(0.0)(x, generator()), x)


def test_grey_is_the_mean_of_the_channels_for_some():
    x = torch.randn(300, 3, 4, 4, generator=generator())
    grey = x.mean(dim=1, keepdim=True).expand_as(x)
    assert torch.equal(adaptation.random_grey(1.0)(x, generator()), grey)
    assert torch.equal(adaptation.random_grey(0.0)(x, generator()), x)
    some = adaptation.random_grey(0.3)(x, generator())
    turned = (some == grey).flatten(1).all(1)
    assert 60 < turned.sum() < 120 and torch.equal(some[~turned], x[~turned])


def test_colour_contrast_and_brightness_are_what_they_say():
    x = torch.randn(40, 3, 6, 6, generator=generator(), dtype=torch.double)
    tinted = adaptation.random_colour(0.3)(x, generator()).flatten(2)
    centred = x.flatten(2) - x.flatten(2).mean(dim=2, keepdim=True)
    gain = (tinted * centred).sum(dim=2) / (centred**2).sum(dim=2)  # (N, C)
    offset = (tinted - gain[..., None] * x.flatten(2)).mean(dim=2)
    torch.testing.assert_close(
        tinted, gain[..., None] * x.flatten(2) + offset[..., None]
    )
    for drawn in (gain - 1, offset):
        assert 0.25 < drawn.abs().max() <= 0.3 and drawn.std(dim=1).min() > 1e-3
    stretched = adaptation.random_contrast(0.3)(x, generator())
    mean = x.mean(dim=(1, 2, 3))
    torch.testing.assert_close(stretched.mean(dim=(1, 2, 3)), mean)
    ratio = (stretched.flatten(1).std(dim=1) / x.flatten(1).std(dim=1)) - 1
    assert 0.2 < ratio.abs().max() <= 0.3 and ratio.min() < 0 < ratio.max()
    shift = (adaptation.random_brightness(0.3)(x, generator()) - x).flatten(1)
    assert shift.std(dim=1).max() < 1e-12 and 0.2 < shift.abs().max() <= 0.3


def test_mixup_mixes_inputs_and_labels_in_the_same_shares():
    y = torch.arange(50) % 5
    x = nn.functional.one_hot(y, 5).double()
    mix = adaptation.Mixup(0.8)
    mixed = mix(x, generator())
    torch.testing.assert_close(mix.soft_labels(y, 5), mixed)
    shares = mixed.max(dim=1).values
    assert shares.min() >= 0.5 and (shares < 0.9).sum() > 10
    assert torch.equal(mixed.argmax(dim=1)[shares > 0.501], y[shares > 0.501])
    logits = torch.randn(50, 5, generator=generator(), dtype=torch.double)
    expected = -(mixed * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(mix.loss(logits, y), expected)


def test_mixup_trains_with_accuracy_defined():
    data, mix = tiny.blobs(), adaptation.Mixup(0.3)
    net = tiny.mlp()
    history = training.fit(
        net,
        data,
        tiny.blobs(30, seed=1),
        steps=60,
        lr=1e-2,
        recipe=Recipe(augment=mix, objective=Objective(loss=mix.loss)),
    )
    assert history.val_accuracy[history.best_epoch] == 1.0
    assert 0.8 < history.train_accuracy[-1] <= 1.0
    with pytest.raises(CourseError, match="(?s)3 labels.*loss=mix.loss"):
        mix.loss(torch.zeros(3, 3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(CourseError, match="alpha"):
        adaptation.Mixup(0.0)


# -- test-time augmentation -------------------------------------------------------


def test_predictions_over_eight_views_do_not_depend_on_the_orientation():
    backbone, data = tiny.resnet(), tiny.images(5)
    scores = adaptation.predict_tta(backbone, Unreadable(data), batch_size=2)
    assert scores.shape == (5, 3) and scores.dtype == np.float32
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, atol=1e-5)
    turned = np.ascontiguousarray(np.rot90(data.images, 1, (1, 2))[:, :, ::-1])
    np.testing.assert_allclose(
        adaptation.predict_tta(backbone, turned), scores, atol=1e-4
    )
    single = [
        training.evaluate(backbone, (images, data.labels))["probabilities"]
        for images in (data.images, turned)
    ]
    assert abs(single[0] - single[1]).max() > 1e-3
    pair = [lambda x: x, lambda x: x.flip(3)]
    by_hand = [
        training.evaluate(backbone, (im, data.labels))["probabilities"]
        for im in (data.images, np.ascontiguousarray(data.images[:, :, ::-1]))
    ]
    np.testing.assert_allclose(
        adaptation.predict_tta(backbone, data, pair),
        np.log(np.mean(by_hand, axis=0)),
        atol=1e-4,
    )
    with pytest.raises(CourseError, match="no views"):
        adaptation.predict_tta(backbone, data, [])


def test_a_network_without_orientation_gains_nothing_from_views():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    backbone = Backbone(net, tiny.PREPROCESS, "tiny/mean", "vision", "2", {}, 3)
    data = tiny.images(4)
    plain = torch.tensor(training.predict(backbone, data)).log_softmax(dim=1)
    np.testing.assert_allclose(adaptation.predict_tta(backbone, data), plain, atol=1e-5)
    x = torch.arange(9.0).view(1, 1, 3, 3)
    seen = {tuple(v(x).flatten().tolist()) for v in adaptation.dihedral_views()}
    assert len(seen) == 8


# -- continued pre-training -------------------------------------------------------


def test_barlow_twins_by_hand():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(20, 4))
    B = A + 0.5 * rng.normal(size=(20, 4))
    C = np.corrcoef(A.T, B.T)[:4, 4:]
    expected = sum(
        (1 - C[i, i]) ** 2 if i == j else 0.03 * C[i, j] ** 2
        for i in range(4)
        for j in range(4)
    )
    value = adaptation.barlow_twins_loss(torch.tensor(A), torch.tensor(B), 0.03)
    assert float(value) == pytest.approx(expected, rel=1e-4)
    scaled = adaptation.barlow_twins_loss(
        torch.tensor(5 * A + 2), torch.tensor(B), 0.03
    )
    assert float(scaled) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(CourseError, match="two views"):
        adaptation.barlow_twins_loss(torch.tensor(A), torch.tensor(B[:9]))


def test_continued_pretraining_learns_without_labels_or_head():
    data = tiny.images(24)

    mild = training.compose(training.random_flips(), adaptation.random_noise(0.3))

    def trained(data, seed=0, augment=mild):
        backbone = freezing.freeze_until(tiny.resnet(), "stem")
        before = state(backbone)
        losses = adaptation.continue_pretraining(
            backbone, data, steps=12, batch_size=12, seed=seed, augment=augment
        )
        return losses, moved(before, backbone), state(backbone)

    losses, changed, first = trained(data)
    assert len(losses) == 12 and np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert {name.split(".")[0] for name in changed} == {
        f"layer{i}" for i in (1, 2, 3, 4)
    }
    torch.manual_seed(1)
    again, _, second = trained(Unreadable(data))
    assert again == losses and all(torch.equal(first[k], second[k]) for k in first)
    assert trained(data, seed=1)[0] != losses
    used = []

    def watch(x, generator):
        used.append(len(x))
        return x

    trained(data, augment=watch)
    assert used == [12] * 24


def test_pretraining_that_cannot_work_is_named():
    frozen = freezing.freeze_backbone(tiny.resnet())
    with pytest.raises(CourseError, match="before the head is frozen"):
        adaptation.continue_pretraining(frozen, tiny.images(6), steps=1)
    with pytest.raises(CourseError, match="(?s)nan at step 0.*lower lr"):
        adaptation.continue_pretraining(
            tiny.resnet(), tiny.images(6), steps=1, augment=lambda x, g: x * np.nan
        )


# -- self-training ----------------------------------------------------------------


def test_pseudo_labels_are_the_confident_predictions():
    backbone, data = tiny.resnet(), tiny.images(20)
    outcome = training.evaluate(backbone, data)
    confidence = outcome["probabilities"].max(axis=1)
    threshold = float(np.median(confidence))
    kept, share = adaptation.pseudo_labelled(backbone, Unreadable(data), threshold)
    rows = np.flatnonzero(confidence >= threshold)
    assert share == len(rows) / 20 == 0.5
    assert np.array_equal(kept.metadata["row"], rows)
    assert np.array_equal(kept.images, data.images[rows])
    assert np.array_equal(kept.labels, outcome["predictions"][rows])
    assert kept.metadata["confidence"] == pytest.approx(confidence[rows])
    assert kept.classes == data.classes
    everything, share = adaptation.pseudo_labelled(backbone, data.images, 0.0)
    assert share == 1.0 and everything.classes == ("0", "1", "2")
    nothing, share = adaptation.pseudo_labelled(backbone, data, 1.0)
    assert share == 0.0 and len(nothing) == 0
    with pytest.raises(CourseError, match="threshold=90"):
        adaptation.pseudo_labelled(backbone, data, 90)
    with pytest.raises(CourseError, match="4 outputs.*3 classes"):
        adaptation.pseudo_labelled(tiny.resnet(4), data)


# -- L2-SP ------------------------------------------------------------------------


def test_the_penalty_and_its_gradient_are_the_formula():
    start, model = tiny.resnet(5, seed=0), tiny.resnet(3, seed=1)
    value = adaptation.l2_sp(model, start, 0.3, beta=0.02)()
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
    penalty = adaptation.l2_sp(model, model, 2.0, beta=0.0)
    weight, head = model.model.layer4[0].conv1.weight, model.model.fc.weight
    assert float(penalty().detach()) == 0.0
    with torch.no_grad():
        weight += 0.5
        head += 1.0
        model.model.conv1.weight += 1.0  # frozen: does not count
    assert float(penalty().detach()) == pytest.approx(0.25 * weight.numel(), rel=1e-5)
    saved = state(tiny.resnet())
    same = adaptation.l2_sp(model, saved, 2.0, beta=0.0)
    assert float(same().detach()) == pytest.approx(0.25 * weight.numel(), rel=1e-5)
    plain = adaptation.l2_sp(model.model, saved, 2.0, beta=0.0)  # fc by its shape
    assert float(plain().detach()) == pytest.approx(
        0.25 * weight.numel() + head.numel(), rel=1e-5
    )


@pytest.mark.parametrize("optimizer, lr", [("sgd", 1e-4), ("adamw", 1e-3)])
def test_a_huge_strength_holds_the_weights_at_the_start(optimizer, lr):
    source = points(60)
    away = []
    for strength in (0.0, 1e3):
        backbone = perceptron()
        before = state(backbone)
        penalty = adaptation.l2_sp(backbone, backbone, strength, beta=0.0)
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
        adaptation.l2_sp(tiny.resnet(), tiny.mlp(), 0.1)
    with pytest.raises(CourseError, match="strength=-1"):
        adaptation.l2_sp(tiny.resnet(), tiny.resnet(), -1)
