"""Lesson 16's small world: segmentation from few masks.

A shape of one texture lies on another texture, and its mask is known exactly.  The head
is one 1 x 1 convolution on each level of Lite0's pyramid.
"""

from functools import lru_cache

import torch

from course_lib.lessons import solar
from course_lib.lessons.results import Grid
from course_lib.methods import segmentation
from course_lib.methods.segmentation import PyramidHead, Scaled, Segmenter
from course_lib.models import zoo
from course_lib.pretraining import patterns, shapes, textures

COUNTS = (5, 20, 80)  # of masks
SEEDS = range(5)
SIZES = {"validation": 40, "test": 200}
SIDE = 64
STEPS, ALONE = 100, 200  # updates of a head, and of a whole network
RATE = 1e-2
FIRST = {"validation": 160_001, "test": 160_002, "train": 160_010}  # seeds


def drawn(n, seed):
    """n pictures uint8 (n, 64, 64, 3) and their masks float (n, 1, 64, 64)."""
    gen, grid = torch.Generator().manual_seed(seed), textures.coordinates(SIDE)
    kinds = torch.tensor([patterns.SHAPE_NAMES.index(name) for name in filled()])
    shape = kinds[torch.randint(len(kinds), (n,), generator=gen)]
    many = len(patterns.TEXTURE_NAMES)
    under = torch.randint(many, (n,), generator=gen)
    over = (under + torch.randint(1, many, (n,), generator=gen)) % many  # another one
    mask = patterns.draw_masks(shape, grid, gen)[:, None]
    back, front = (
        patterns.paint(patterns.draw_textures(t, grid, gen), gen) for t in (under, over)
    )
    images = patterns.photograph(back + mask * (front - back), grid, gen)
    return images.numpy(), (mask > 0.5).float()


def filled():
    """Names of the shapes that have an area: no strokes, no faults, not nothing."""
    outside = (*shapes.STROKES, *shapes.FAULTS, "nothing")
    return [name for name in patterns.SHAPE_NAMES if name not in outside]


@lru_cache(maxsize=4)
def held(split, pretrained):
    """(maps of the pyramid, masks) of the validation or test pictures."""
    images, masks = drawn(SIZES[split], FIRST[split])
    return maps_of(zoo.load(solar.BACKBONE, pretrained=pretrained), images), masks


def maps_of(backbone, images):
    """Maps of a frozen pyramid, one tensor a level."""
    with torch.no_grad():
        parts = [
            segmentation.pyramid(backbone, backbone.preprocess(images[i : i + 50]))
            for i in range(0, len(images), 50)
        ]
    return [torch.cat(level) for level in zip(*parts)]


def frozen(n, seed, pretrained=True):
    """IoU on the test pictures of a head on a frozen pyramid, from n masks.

    Kept are the weights of the best IoU on the validation pictures.
    """
    images, masks = drawn(n, FIRST["train"] + seed)
    known = maps_of(zoo.load(solar.BACKBONE, pretrained=pretrained), images)
    scale, size = Scaled(known), (SIDE, SIDE)
    head = PyramidHead([m.shape[1] for m in known], seed=seed)
    known = scale(known)
    (V, v), (T, t) = (held(s, pretrained) for s in ("validation", "test"))
    V, T = scale(V), scale(T)
    segmentation.fit(
        lambda rows: head([m[rows] for m in known], size),
        head,
        masks,
        lambda: segmentation.iou(head(V, size), v),
        steps=STEPS,
        lr=RATE,
        seed=seed,
    )
    with torch.no_grad():
        return segmentation.iou(head(T, size), t)


def scratch(n, seed=0, lr=3e-3):
    """The same of the whole network from random weights."""
    images, masks = drawn(n, FIRST["train"] + seed)
    backbone = zoo.load(solar.BACKBONE, seed=seed, pretrained=False)
    X = backbone.preprocess(images)
    widths = [m.shape[1] for m in maps_of(backbone, images[:2])]
    net = Segmenter(backbone, PyramidHead(widths, seed=seed))
    data = {split: drawn(number, FIRST[split]) for split, number in SIZES.items()}

    def score(split):
        pictures, wanted = data[split]
        with torch.no_grad():
            return segmentation.iou(net(backbone.preprocess(pictures)), wanted)

    segmentation.fit(
        lambda rows: net(X[rows]),
        net,
        masks,
        lambda: score("validation"),
        steps=ALONE,
        lr=lr,
        seed=seed,
    )
    return score("test")


def few(seeds=SEEDS):
    """IoU of frozen ImageNet maps by number of masks, and with most masks of others.

    A Grid: beside it stand frozen random maps, and one run of the whole network from
    random weights, which takes as long as all the rest.
    """
    ways = [("frozen", n) for n in COUNTS] + [("frozen_random", COUNTS[-1])]
    rows = [
        dict(way=way, masks=n, seed=seed, iou=frozen(n, seed, way == "frozen"))
        for way, n in ways
        for seed in seeds
    ]
    alone = dict(way="scratch", masks=COUNTS[-1], seed=0, iou=scratch(COUNTS[-1]))
    return Grid([*rows, alone])
