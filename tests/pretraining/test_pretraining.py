"""The source task: formula-driven pictures, their labels and the recipe."""

import math
from dataclasses import replace

import pytest
import torch

from course_lib import datasets
from course_lib.errors import CourseError
from course_lib.pretraining import patterns, recipes, textures
from course_lib.pretraining.shapes import FAULTS, SHAPES, STROKES

GRID = textures.coordinates(64)


@pytest.mark.parametrize("name", textures.TEXTURES)
def test_textures_are_fields_in_the_unit_interval(name):
    gen = torch.Generator().manual_seed(0)
    field = textures.TEXTURES[name](3, GRID, gen)
    assert field.shape == (3, 64, 64) and field.isfinite().all()
    assert field.min() >= -0.05 and field.max() <= 1.05
    if name != "a plain surface":
        assert (field.flatten(1).std(1) > 0.02).any()
    assert not torch.equal(field[0], field[1])


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_cover_something_but_not_everything(name):
    kinds = torch.full((8,), list(SHAPES).index(name))
    masks = patterns.draw_masks(kinds, GRID, torch.Generator().manual_seed(0))
    share = (masks > 0.5).float().mean((1, 2))
    if name == "nothing":
        assert share.max() == 0
    else:
        assert 0 < share.min() and share.max() < 0.8


def test_the_same_seed_gives_the_same_pictures():
    a, b = patterns.render(20, seed=1), patterns.render(20, seed=1)
    c = patterns.render(20, seed=2)
    assert torch.equal(a.images, b.images) and not torch.equal(a.images, c.images)
    assert a.images.shape == (20, 64, 64, 3) and a.images.dtype == torch.uint8


@pytest.mark.slow
def test_the_fill_is_never_the_background_and_lines_have_none():
    some = patterns.render(600, seed=3).labels
    seen = some["fill"] >= 0
    assert (some["fill"][seen] != some["texture"][seen]).all()
    lines = [patterns.SHAPE_NAMES.index(name) for name in (*STROKES, "nothing")]
    assert not seen[torch.isin(some["shape"], torch.tensor(lines))].any()


def test_every_finish_and_every_fault_changes_the_picture_inside_the_mask_only():
    gen = torch.Generator().manual_seed(0)
    back = torch.rand(6, 3, 64, 64, generator=gen)
    mask = torch.zeros(6, 1, 64, 64)
    mask[:, :, 20:40, 10:30] = 1
    outside = torch.ones(64, 64, dtype=torch.bool)
    outside[19:41, 9:31] = False  # a relief's flank reaches a pixel further
    pictures = [
        draw(back, mask, gen)
        for draw in (patterns.painted, patterns.transparent, patterns.raised)
    ]
    for name in FAULTS:
        kind = torch.full((6,), patterns.SHAPE_NAMES.index(name))
        pictures.append(patterns.faulty(back, kind, mask, gen))
    for picture in pictures:
        assert torch.equal(picture[..., outside], back[..., outside])
        changed = (picture - back)[..., 20:40, 10:30].abs().mean((1, 2, 3))
        assert (changed > 0.01).all()
    sound = torch.full((6,), patterns.SHAPE_NAMES.index("a disc"))
    assert torch.equal(patterns.faulty(back, sound, mask, gen), back)


@pytest.mark.slow
def test_what_lies_on_nothing_has_no_finish():
    some = patterns.render(600, seed=3).labels
    alone = [patterns.SHAPE_NAMES.index(name) for name in ("nothing", *FAULTS)]
    alone = torch.isin(some["shape"], torch.tensor(alone))
    assert (some["finish"][alone] == -100).all() and (some["finish"][~alone] >= 0).all()
    strokes = [patterns.SHAPE_NAMES.index(name) for name in STROKES]
    strokes = torch.isin(some["shape"], torch.tensor(strokes))
    assert (some["finish"][strokes] > 0).all(), "a thin line cannot be filled"


def test_captions_name_what_is_there():
    shape = patterns.SHAPE_NAMES.index("a gear")
    ground = patterns.TEXTURE_NAMES.index("bricks")
    fill = patterns.TEXTURE_NAMES.index("wood")
    assert patterns.caption(ground, shape, fill) == "a gear filled with wood on bricks"
    assert patterns.caption(ground, shape) == "a gear on bricks"


def test_silhouettes_have_no_texture():
    pool = patterns.silhouettes(12, seed=0)
    assert set(pool.images.unique().tolist()) <= {0, 255}


@pytest.mark.slow
def test_the_pool_does_not_depend_on_the_number_of_jobs():
    one = recipes.render_pool("silhouettes", 40, seed=5, jobs=1, chunk=16)
    two = recipes.render_pool("silhouettes", 40, seed=5, jobs=2, chunk=16)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1]["shape"], two[1]["shape"])


def test_the_loss_ignores_what_cannot_be_seen():
    slices = recipes.head_slices({"a": "xyz", "b": "uv"})
    assert slices == {"a": slice(0, 3), "b": slice(3, 5)}
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    a, b = torch.tensor([0, 1, 2, 0]), torch.tensor([1, -100, 0, 1])
    loss = recipes.multi_head_loss(logits, {"a": a, "b": b}, slices, smoothing=0.0)
    seen = b >= 0
    by_hand = torch.nn.functional.cross_entropy(logits[:, :3], a)
    by_hand += torch.nn.functional.cross_entropy(logits[seen, 3:], b[seen])
    torch.testing.assert_close(loss, by_hand / 2)


@pytest.mark.slow
def test_a_short_run_learns_the_source_task(tmp_path):
    """Two hundred steps bring the loss clearly below that of guessing."""
    recipe = replace(recipes.RECIPES["resnet10-silhouettes"], passes=13, batch_size=16)
    pool = recipes.render_pool(recipe.source, 256, seed=0, jobs=1)
    torch.manual_seed(0)
    model = recipes.build(recipe)
    history = recipes.pretrain(model, pool, recipe, report=lambda text: None)
    assert history[-1]["loss"] < math.log(len(patterns.SILHOUETTE_NAMES)) - 0.2
    recipes.write("resnet10-silhouettes", model, [], 1.0, tmp_path, trial=True)
    suffixes = {path.suffix for path in tmp_path.iterdir()}
    assert suffixes == {".safetensors", ".json", ".md"}


def test_an_unknown_recipe_says_what_there_is():
    with pytest.raises(CourseError, match="resnet10-patterns") as error:
        recipes.run("resnet10")
    assert "Do: `course pretrain`" in str(error.value)
    assert recipes.find("b", {"a": 1, "b": 2}) == 2


@pytest.mark.parametrize("name, classes", [("wafer_maps", 9), ("spectrograms", 6)])
def test_a_target_set_as_a_source_shares_no_picture_with_the_committed_set(
    name, classes
):
    pool = getattr(patterns, name)(3 * classes, seed=5)
    assert pool.images.dtype == torch.uint8 and len(pool.images) == 3 * classes
    assert pool.labels["class"].bincount().tolist() == [3] * classes
    known = {image.tobytes() for image in datasets.load(name, "train").images}
    assert not known & {image.numpy().tobytes() for image in pool.images}


def test_turning_is_left_out_where_directions_carry_the_class():
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    x[:, :, :8] = 0.0  # dark above, light below
    gen = torch.Generator().manual_seed(1)
    straight = recipes.augment(x, gen, zoom=(1.0, 1.0), turn=0.0)
    rows = straight.mean((1, 3))  # (N, H)
    contrast = (rows[:, 11:14].mean(1) - rows[:, 2:5].mean(1)).abs()
    turned = recipes.augment(x, gen, zoom=(1.0, 1.0)).mean((1, 3))
    assert (contrast > 0.2).all()
    assert ((turned[:, 11:14].mean(1) - turned[:, 2:5].mean(1)).abs() < 0.2).any()
