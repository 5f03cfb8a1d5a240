"""The training loop: what it learns, keeps, leaves alone and refuses."""

import json
import re

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from course_lib import training
from course_lib.errors import CourseError
from course_lib.models import features
from course_lib.training import (
    Objective,
    Optimization,
    Recipe,
    Runtime,
    batches,
    freezing,
)
from course_lib.training.precision import Precision


def state(model):
    net = features.network(model)
    return {k: v.clone() for k, v in net.state_dict().items()}


def moved(before, model):
    after = features.network(model).state_dict()
    return {k for k in before if not torch.equal(before[k], after[k])}


def test_it_learns_images_and_reports_plain_data():
    backbone = tiny.resnet()
    val = tiny.images(12, seed=1, split="val")
    before = training.evaluate(backbone, val)["loss"]
    history = training.fit(
        backbone, tiny.images(24), val, epochs=4, lr=1e-2, recipe=Recipe(batch_size=8)
    )
    after = training.evaluate(backbone, val)
    assert after["accuracy"] == 1.0 and after["loss"] < before / 2
    assert history.epoch == [1, 2, 3, 4] and history.step == [3, 6, 9, 12]
    assert history.steps == 12 and not backbone.model.training
    assert after["loss"] == pytest.approx(min(history.val_loss), abs=1e-5)
    again = training.History.from_dict(json.loads(json.dumps(history.to_dict())))
    assert again == history


def test_same_seed_same_weights_and_another_seed_another_order():
    def trained(seed):
        net = tiny.mlp()
        training.fit(
            net, tiny.blobs(), epochs=2, seed=seed, recipe=Recipe(batch_size=7)
        )
        return state(net)

    first, second, other = trained(0), trained(0), trained(1)
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


def test_dropout_follows_the_seed_and_the_global_generator_is_left_alone():
    def trained(net, global_seed):
        torch.manual_seed(global_seed)
        training.fit(net, tiny.blobs(), epochs=1, seed=3)
        return state(net).values(), torch.rand(1)

    nets = [nn.Sequential(tiny.mlp(), nn.Dropout(0.5)) for _ in range(2)]
    first, drawn = trained(nets[0], 0)
    second, _ = trained(nets[1], 77)
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), drawn)


def test_the_update_is_the_textbook_one():
    """One epoch of full-batch SGD against the formula, momentum and decay included."""
    X, y = tiny.blobs(6)
    net, reference = nn.Linear(4, 3), nn.Linear(4, 3)
    reference.load_state_dict(net.state_dict())
    training.fit(
        net,
        (X, y),
        epochs=2,
        lr=0.1,
        recipe=Recipe(
            batch_size=6,
            optimization=Optimization(
                optimizer="sgd",
                momentum=0.9,
                weight_decay=0.2,
                schedule="constant",
                warmup=0,
            ),
        ),
    )
    velocity = {p: torch.zeros_like(p) for p in reference.parameters()}
    for _ in range(2):
        loss = nn.functional.cross_entropy(reference(torch.tensor(X)), torch.tensor(y))
        grads = torch.autograd.grad(loss, list(reference.parameters()))
        with torch.no_grad():
            for p, g in zip(reference.parameters(), grads):
                decay = 0.2 if p.ndim == 2 else 0.0
                velocity[p] = 0.9 * velocity[p] + g + decay * p
                p -= 0.1 * velocity[p]
    torch.testing.assert_close(net.weight, reference.weight)
    torch.testing.assert_close(net.bias, reference.bias)


def test_a_penalty_joins_the_gradient_and_not_the_reported_loss():
    X, y = tiny.blobs(6)
    net, reference = nn.Linear(4, 3), nn.Linear(4, 3)
    reference.load_state_dict(net.state_dict())
    history = training.fit(
        net,
        (X, y),
        epochs=1,
        lr=0.1,
        recipe=Recipe(
            batch_size=6,
            optimization=Optimization(
                optimizer="sgd", momentum=0, weight_decay=0, warmup=0
            ),
            objective=Objective(penalty=lambda: 2 * (net.weight**2).sum()),
        ),
    )
    loss = nn.functional.cross_entropy(reference(torch.tensor(X)), torch.tensor(y))
    (gradient,) = torch.autograd.grad(loss, reference.weight)
    expected = reference.weight - 0.1 * (gradient + 4 * reference.weight)
    torch.testing.assert_close(net.weight, expected)
    assert history.train_loss == pytest.approx([float(loss.detach())], rel=1e-5)
    with pytest.raises(CourseError, match="not finite|nan"):
        nan = torch.tensor(float("nan"))
        training.fit(
            net,
            (X, y),
            epochs=1,
            recipe=Recipe(objective=Objective(penalty=lambda: nan)),
        )


# -- best checkpoint and length ---------------------------------------------------


def diverging(epoch, model, optimizer):
    """From epoch 2 on, ruin the weights a little more at the start of each epoch."""
    if epoch >= 2:
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.full_like(p, 0.3 * epoch) * p.sign())


def test_weights_of_the_lowest_validation_loss_come_back():
    net, val = tiny.mlp(), tiny.blobs(30, seed=1)
    history = training.fit(
        net, tiny.blobs(), val, epochs=6, lr=3e-3, recipe=Recipe(on_epoch=diverging)
    )
    assert history.best_epoch == int(np.argmin(history.val_loss)) < 5
    kept = training.evaluate(net, val)["loss"]
    assert kept == pytest.approx(min(history.val_loss), rel=1e-5)
    assert kept < history.val_loss[-1] - 1e-3


def test_batchnorm_statistics_belong_to_the_checkpoint():
    backbone = tiny.resnet()
    seen = []

    def watch(epoch, model, optimizer):
        seen.append(model.model.bn1.running_mean.clone())

    history = training.fit(
        backbone,
        tiny.images(16),
        tiny.images(6, seed=1),
        epochs=4,
        lr=0.5,
        recipe=Recipe(
            batch_size=8, on_epoch=watch, optimization=Optimization(clip_norm=1.0)
        ),
    )
    best = history.best_epoch
    if best < 3:
        assert torch.equal(backbone.model.bn1.running_mean, seen[best + 1])
    assert not torch.equal(seen[1], seen[3])


def test_early_stopping_counts_evaluations_without_improvement():
    history = training.fit(
        tiny.mlp(),
        tiny.blobs(),
        tiny.blobs(30, seed=1),
        epochs=50,
        lr=3e-3,
        recipe=Recipe(patience=2, on_epoch=diverging),
    )
    assert history.stopped_early
    assert len(history.val_loss) == history.best_epoch + 3


def test_without_validation_the_last_weights_stay():
    history = training.fit(tiny.mlp(), tiny.blobs(), epochs=3)
    assert history.best_epoch == 2 and history.val_loss == []


@pytest.mark.parametrize("n, expected", [(8, 40), (200, 40)])
def test_steps_give_equal_numbers_of_updates(n, expected):
    calls = []

    def count(x, generator):
        calls.append(len(x))
        return x

    history = training.fit(
        tiny.mlp(), tiny.blobs(n), tiny.blobs(9), steps=40, recipe=Recipe(augment=count)
    )
    assert len(calls) == expected == history.steps
    assert len(history.val_loss) <= 20 and history.step[-1] == 40


def test_every_example_is_seen_once_an_epoch():
    X = np.arange(10, dtype=np.float32)[:, None] * np.ones((1, 4), np.float32)
    seen = []

    def watch(x, generator):
        seen.extend(x[:, 0].tolist())
        return x

    training.fit(
        tiny.mlp(),
        (X, np.zeros(10, int)),
        epochs=3,
        recipe=Recipe(batch_size=4, augment=watch),
    )
    passes = [seen[i : i + 10] for i in (0, 10, 20)]
    assert all(sorted(p) == list(range(10)) for p in passes)
    assert passes[0] != passes[1]


# -- frozen parts -----------------------------------------------------------------


def test_frozen_parts_do_not_move_at_all():
    backbone = freezing.freeze_until(tiny.resnet(), "layer3")
    before = state(backbone)
    training.fit(
        backbone, tiny.images(), epochs=2, lr=1e-2, recipe=Recipe(batch_size=8)
    )
    names = moved(before, backbone)
    assert names and {name.split(".")[0] for name in names} == {"layer4", "fc"}
    assert any("running_mean" in name for name in names)


def test_a_schedule_of_unfreezing_adds_parameters_with_their_own_rate():
    backbone = freezing.freeze_backbone(tiny.resnet())
    before = state(backbone)
    rates = []

    def open_last(model, optimizer):
        freezing.unfreeze(model.model.layer4)
        for group in training.param_groups(model.model.layer4, lr=1e-4):
            optimizer.add_param_group(group)
        rates.extend(group["lr"] for group in optimizer.param_groups)

    training.fit(
        backbone,
        tiny.images(),
        epochs=3,
        lr=1e-2,
        recipe=Recipe(
            on_epoch={1: open_last},
            optimization=Optimization(schedule="constant", warmup=0),
        ),
    )
    opened = {name.split(".")[0] for name in moved(before, backbone)}
    assert opened == {"layer4", "fc"}
    assert rates == [1e-2, 1e-2, 1e-4, 1e-4]


def test_unfreezing_without_telling_the_optimizer_is_an_error():
    backbone = freezing.freeze_backbone(tiny.resnet())

    def open_last(model, optimizer):
        freezing.unfreeze(model.model.layer4)

    with pytest.raises(CourseError, match="(?s)layer4.*add_param_group"):
        training.fit(
            backbone, tiny.images(), epochs=2, recipe=Recipe(on_epoch={1: open_last})
        )


# -- groups and schedule ----------------------------------------------------------


@pytest.mark.parametrize("backbone", [tiny.resnet(), tiny.vit()])
def test_every_parameter_is_in_one_group_and_norms_have_no_decay(backbone):
    decay, plain = training.param_groups(backbone, lr=1.0, weight_decay=0.1)
    names = {id(p): n for n, p in backbone.model.named_parameters()}
    grouped = [id(p) for g in (decay, plain) for p in g["params"]]
    assert sorted(grouped) == sorted(names)
    assert decay["weight_decay"] == 0.1 and plain["weight_decay"] == 0
    without = {names[id(p)] for p in plain["params"]}
    assert all(n in without for n in names.values() if "norm" in n or "bn" in n)
    assert all(n in without for n in names.values() if n.endswith("bias"))
    if "pos_embed" in names.values():
        assert {"pos_embed", "cls_token"} <= without


def test_warm_up_then_cosine():
    factors = [training.lr_factor(s, 100) for s in range(100)]
    assert factors[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert factors[10] == 1.0 and factors[55] == pytest.approx(0.5)
    assert 0 < factors[99] < 0.001 and all(np.diff(factors[10:]) < 0)
    assert training.lr_factor(50, 100, "constant") == 1.0
    assert training.lr_factor(3, 9, lambda step, steps: step / steps) == pytest.approx(
        1 / 3
    )
    with pytest.raises(CourseError, match="schedule"):
        training.lr_factor(0, 10, "cosin")


def test_every_group_follows_the_schedule():
    net = tiny.mlp()
    groups = [
        dict(params=list(net[0].parameters()), lr=1e-4),
        dict(params=list(net[2].parameters()), lr=1e-2),
    ]
    optimizer = torch.optim.SGD(groups)
    history = training.fit(
        net,
        tiny.blobs(),
        steps=10,
        recipe=Recipe(optimization=Optimization(optimizer=optimizer, warmup=0)),
    )
    last = training.lr_factor(9, 10, warmup=0)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx(
        [1e-4 * last, 1e-2 * last]
    )
    assert history.lr[-1] == pytest.approx(1e-4 * last)


# -- augmentation -----------------------------------------------------------------


def test_flips_mirror_about_half_and_only_left_right():
    x = torch.arange(48.0).view(1, 1, 6, 8).repeat(400, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    flipped = training.random_flips()(x, generator)
    mirrored = (flipped == x.flip(3)).flatten(1).all(1)
    same = (flipped == x).flatten(1).all(1)
    assert (mirrored | same).all() and 150 < mirrored.sum() < 250
    both = training.random_flips(vertical=True)(x, generator)
    assert (both == x.flip(2, 3)).flatten(1).all(1).sum() > 50


def test_dihedral_reaches_all_eight_symmetries_of_a_square():
    x = torch.arange(16.0).view(1, 1, 4, 4).repeat(200, 1, 1, 1)
    turned = training.random_dihedral()(x, torch.Generator().manual_seed(0))
    seen = {tuple(image.flatten().tolist()) for image in turned}
    square = x[:1]
    expected = {
        tuple(torch.rot90(picture, k, (2, 3)).flatten().tolist())
        for picture in (square, square.flip(3))
        for k in range(4)
    }
    assert seen == expected and len(seen) == 8


def test_crops_shift_and_fill_with_the_mean_colour():
    x = 1 + torch.rand(50, 3, 8, 8)
    generator = torch.Generator().manual_seed(0)
    cropped = training.random_crop(2)(x, generator)
    padded = nn.functional.pad(x, (2, 2, 2, 2))
    shifts = set()
    for image, big in zip(cropped, padded):
        found = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if torch.equal(image, big[:, i : i + 8, j : j + 8])
        ]
        assert len(found) == 1
        shifts.update(found)
    assert len(shifts) > 15
    one = training.compose(training.random_crop(2), training.random_flips())
    first = one(x, torch.Generator().manual_seed(4))
    assert torch.equal(first, one(x, torch.Generator().manual_seed(4)))


@pytest.mark.parametrize("rows", [True, False])
def test_resized_crops_enlarge_a_part_of_any_place(rows):
    column = torch.linspace(-1, 1, 32).expand(60, 1, 32, 32)  # what lies where
    x = torch.cat([column, column.transpose(2, 3), column], dim=1)
    cut = training.random_resized_crop(0.25, rows)(x, torch.Generator().manual_seed(0))
    assert cut.shape == x.shape
    across, down = cut[:, 0, 0], cut[:, 1, :, 0]  # (60, 32): from where each came
    width, height = (line[:, 24] - line[:, 8] for line in (across, down))
    share = width * height * (31 / 32) ** 2  # of the area, for the middle half is 1
    assert 0.24 < share.min() < 0.4 and 0.8 < share.max() < 1.05
    centre = across[:, 15:17].mean(dim=1)
    assert (centre.abs() <= 1 - width + 0.05).all() and centre.std() > 0.1
    if rows:
        assert torch.allclose(width, height, atol=0.02)
    else:
        assert torch.allclose(down, x[:, 1, :, 0], atol=1e-5)


# -- data in other forms ----------------------------------------------------------


def test_datasets_loaders_and_arrays_give_the_same_evaluation():
    backbone, data = tiny.resnet(), tiny.images(10)
    expected = training.evaluate(backbone, data)
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    listed = torch.utils.data.Subset(data, range(10))
    for other in (loader, listed, (data.images, data.labels)):
        got = training.evaluate(backbone, other)
        assert got["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert np.array_equal(got["predictions"], expected["predictions"])
    assert expected["probabilities"].sum(1) == pytest.approx(np.ones(10))


def test_a_loader_trains_and_large_data_are_prepared_per_batch(monkeypatch):
    loader = torch.utils.data.DataLoader(tiny.images(12), batch_size=4, shuffle=True)
    history = training.fit(tiny.resnet(), loader, tiny.images(6), epochs=2)
    assert history.step == [3, 6]

    def trained():
        backbone = tiny.resnet()
        training.fit(backbone, tiny.images(12), epochs=1, recipe=Recipe(batch_size=4))
        return state(backbone)

    in_memory = trained()
    monkeypatch.setattr(batches, "CACHE_BYTES", 0)
    per_batch = trained()
    assert all(torch.equal(in_memory[k], per_batch[k]) for k in in_memory)


def test_a_single_left_over_example_does_not_break_batchnorm():
    backbone = tiny.resnet()
    history = training.fit(
        backbone, tiny.images(9, size=8), epochs=2, recipe=Recipe(batch_size=4)
    )
    assert history.step == [2, 4]


# -- refusals ---------------------------------------------------------------------

X, y = tiny.blobs(12)
IMAGES = tiny.images(6)
ADAM = Optimization(optimizer="adam")


@pytest.mark.parametrize(
    "model, data, options, word",
    [
        (tiny.mlp(), (X[:0], y[:0]), {}, "empty"),
        (tiny.mlp(), (X, y + 1), {}, "0 to 2"),
        (tiny.mlp(), (X, y - 1), {}, "-1"),
        (tiny.mlp(), (X, y[:-1]), {}, "11 labels"),
        (tiny.mlp(), (X, y.astype(float)), {}, "whole numbers"),
        (tiny.mlp(), ((X * 9).astype(np.int16), y), {}, "int16"),
        (tiny.mlp(), [1, 2, 3], {}, "list"),
        (tiny.mlp(), (X, y), {"epochs": None}, "either epochs"),
        (tiny.mlp(), (X, y), {"epochs": 0}, ">= 1"),
        (tiny.mlp(), (X, y), {"recipe": {"patience": 2}}, "type dict.*Recipe"),
        (tiny.mlp(), (X, y), {"recipe": Recipe(optimization=ADAM)}, "adamw"),
        (tiny.mlp(), (X, y), {"recipe": Recipe(runtime=Runtime(amp="half"))}, "amp"),
        (tiny.resnet().model, IMAGES, {}, "no\\s+preprocessing"),
        (tiny.resnet(1000), IMAGES, {}, r"1000 outputs.*3 classes"),
        (tiny.resnet(2), (IMAGES.images, IMAGES.labels), {}, "0 to 1"),
        (freezing.freeze(tiny.mlp()), (X, y), {}, "frozen"),
    ],
)
def test_unusable_input_is_named(model, data, options, word):
    with pytest.raises(CourseError) as error:
        training.fit(model, data, **{"epochs": 1} | options)
    assert re.search(word, str(error.value), re.DOTALL)


def test_a_group_of_the_recipe_is_no_plain_value():
    with pytest.raises(CourseError, match="(?s)type str.*training.Optimization"):
        Recipe(optimization="sgd")


def test_a_last_update_that_ruins_the_weights_is_told(tmp_path):
    net, recipe = tiny.mlp(), Recipe(runtime=Runtime(checkpoint=tmp_path / "run"))
    with pytest.raises(CourseError, match="The loss is .* on the validation part"):
        training.fit(net, tiny.blobs(), tiny.blobs(), steps=1, lr=1e38, recipe=recipe)


def test_a_loss_that_is_not_finite_stops_at_once():
    bad = X.copy()
    bad[0] = np.inf
    with pytest.raises(CourseError, match=r"(?s)step 0.*rate.*lower lr"):
        training.fit(tiny.mlp(), (bad, y), epochs=3, recipe=Recipe(batch_size=12))


# -- heads on cached features -----------------------------------------------------


def test_a_head_on_cached_features_equals_the_naive_frozen_loop():
    data, val = tiny.images(24), tiny.images(9, seed=1)
    naive = freezing.freeze_backbone(tiny.resnet())
    head = training.make_head(16, 3, seed=5)
    training.attach_head(naive, head)
    options = dict(epochs=3, lr=1e-2, seed=2, recipe=Recipe(batch_size=8))
    slow = training.fit(naive, data, val, **options)
    backbone = tiny.resnet()
    cached = [(features.extract(backbone, d), d.labels) for d in (data, val)]
    fast = training.fit(head, cached[0], cached[1], **options)
    assert fast.val_loss == pytest.approx(slow.val_loss, rel=1e-3)
    torch.testing.assert_close(naive.model.fc.weight, head.weight, rtol=1e-2, atol=1e-3)


def test_fit_head_learns_and_its_head_takes_raw_features():
    F, labels = tiny.blobs(60)
    F = F * [1, 100, 1e-3, 1] + 5
    head, history = training.fit_head(
        F,
        labels,
        (F, labels),
        head=training.Head(hidden=16, dropout=0.1),
        epochs=40,
        lr=2e-2,
    )
    assert training.evaluate(head, (F, labels))["accuracy"] == 1.0
    assert len(history.val_loss) == 40


def test_an_attached_head_answers_for_the_whole_network():
    backbone, data = tiny.resnet(), tiny.images(12)
    F = features.extract(backbone, data)
    head, _ = training.fit_head(F, data.labels, epochs=10, lr=1e-2)
    expected = training.predict(head, (F, data.labels))
    training.attach_head(backbone, head)
    np.testing.assert_allclose(training.predict(backbone, data), expected, atol=1e-4)
    assert backbone.model.fc is not head


def test_make_head_is_drawn_from_its_seed_only():
    torch.manual_seed(0)
    a, b, c = (training.make_head(4, 3, seed=s) for s in (1, 1, 2))
    assert torch.equal(a.weight, b.weight) and not torch.equal(a.weight, c.weight)


# -- progress ---------------------------------------------------------------------


@pytest.mark.parametrize("quiet", [True, False])
def test_progress_is_one_line_and_silent_in_ci(capsys, monkeypatch, quiet):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("COURSE_PROGRESS", "0" if quiet else "1")
    training.fit(
        tiny.mlp(),
        tiny.blobs(),
        epochs=2,
        recipe=Recipe(runtime=Runtime(progress=True)),
    )
    out = capsys.readouterr()
    assert out.err == "" and "\n" not in out.out
    assert ("step 4 of 4" in out.out) is not quiet


@pytest.mark.slow
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_fused_optimizer_is_adamw(layout):
    """The updates of torch's plain one, whose formulas are the paper's."""
    images = tiny.images(8)
    nets = [tiny.resnet().model.to(memory_format=layout) for _ in range(2)]
    x = tiny.PREPROCESS(images.images).to(memory_format=layout)
    options = dict(lr=1e-2, weight_decay=0.1)
    plain = torch.optim.AdamW(nets[1].parameters(), foreach=False, **options)
    groups = [dict(params=list(nets[0].parameters()))]
    ours = training.make_optimizer(nets[0], groups=groups, **options)
    for _ in range(5):
        for net, optimizer in zip(nets, (ours, plain)):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(
                net.eval()(x), torch.as_tensor(images.labels)
            )
            loss.backward()
            optimizer.step()
    for a, b in zip(*(net.parameters() for net in nets)):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name, theirs", [("adamw", "AdamW"), ("sgd", "SGD")])
def test_our_optimizer_is_torchs_and_stores_what_torchs_reads(name, theirs):
    net, kind = tiny.mlp(), getattr(torch.optim, theirs)
    ours = training.make_optimizer(net, name)
    net(torch.ones(2, X.shape[1])).sum().backward()
    ours.step()
    assert isinstance(ours, kind) and type(ours).__name__ == theirs
    again = kind([dict(params=group["params"]) for group in ours.param_groups])
    again.load_state_dict(ours.state_dict())
    assert again.state_dict()["state"].keys() == ours.state_dict()["state"].keys()
    assert all(p.requires_grad and p.is_leaf for p in net.parameters())
    ours.zero_grad()
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("instruction", ["avx512_bf16", "amx_bf16", "avx2", None])
def test_native_precision_is_bfloat16_where_the_processor_multiplies_it(
    instruction, monkeypatch
):
    known = {"avx512_bf16": False, instruction: True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    cpu, fast = torch.device("cpu"), instruction in ("avx512_bf16", "amx_bf16")
    assert Precision("native", cpu).dtype == (torch.bfloat16 if fast else None)
    assert Precision("auto", cpu).dtype is None
    assert Precision("native", torch.device("cuda")).dtype == torch.bfloat16
