"""Grid of lesson 16's small world: segmentation from few masks.

A shape of one texture lies on another texture, and its mask is known exactly.  The head
is one 1 x 1 convolution on each level of Lite0's pyramid.
"""

from functools import lru_cache

import torch

from course_lib.lessons import solar
from course_lib.lessons.results import experiment, updates
from course_lib.methods import segmentation
from course_lib.methods.segmentation import PyramidHead, Scaled, Segmenter
from course_lib.models import zoo
from course_lib.pretraining import patterns, shapes, textures

COUNTS = {  # of masks, by way
    "frozen": (5, 20, 80),
    "frozen_random": (5, 20, 80),
    "scratch": (80,),
}
SIZES = {"validation": 40, "test": 200}
SIDE = 64
STEPS = 300
RATES = {  # tried; from random weights that of solar.RATES alone, for it takes longest
    "frozen": (3e-3, 1e-2),
    "frozen_random": (3e-3, 1e-2),
    "scratch": (3e-3,),
}
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


def frozen(images, masks, pretrained, lr, seed, steps):
    """(validation IoU, test IoU) of a head on a frozen pyramid."""
    known = maps_of(zoo.load(solar.BACKBONE, pretrained=pretrained), images)
    scale, size = Scaled(known), (SIDE, SIDE)
    head = PyramidHead([m.shape[1] for m in known], seed=seed)
    known = scale(known)
    (V, v), (T, t) = (held(s, pretrained) for s in ("validation", "test"))
    V, T = scale(V), scale(T)
    reached = segmentation.fit(
        lambda rows: head([m[rows] for m in known], size),
        head,
        masks,
        lambda: segmentation.iou(head(V, size), v),
        steps=steps,
        lr=lr,
        seed=seed,
    )
    with torch.no_grad():
        return reached, segmentation.iou(head(T, size), t)


def scratch(images, masks, lr, seed, steps, part=1.0):
    """(validation IoU, test IoU) of the whole network from random weights."""
    backbone = zoo.load(solar.BACKBONE, seed=seed, pretrained=False)
    X = backbone.preprocess(images)
    widths = [m.shape[1] for m in maps_of(backbone, images[:2])]
    net = Segmenter(backbone, PyramidHead(widths, seed=seed))
    data = {split: drawn(round(part * n), FIRST[split]) for split, n in SIZES.items()}

    def score(split):
        pictures, wanted = data[split]
        with torch.no_grad():
            return segmentation.iou(net(backbone.preprocess(pictures)), wanted)

    reached = segmentation.fit(
        lambda rows: net(X[rows]),
        net,
        masks,
        lambda: score("validation"),
        steps=steps,
        lr=lr,
        seed=seed,
    )
    return reached, score("test")


def cells():
    """The cells of `few_masks`."""
    return [
        dict(way=way, masks=n, seed=seed)
        for way, counts in COUNTS.items()
        for n in counts
        for seed in range(5)
    ]


@experiment(
    "few_masks",
    grid=cells(),
    sample=[dict(way="frozen", masks=5, seed=0)],
    short=[
        dict(way="frozen", masks=5, seed=0, fraction=0.2),
        dict(way="scratch", masks=80, seed=0, fraction=0.04),
    ],
    tolerance={"iou": 0.02, "val_iou": 0.02},
    data=("assets/efficientnet-lite0",),
)
def few_masks(way, masks, seed, fraction=1.0):
    """IoU on the test pictures, at the rate that is best on validation pictures."""
    images, wanted = drawn(masks, FIRST["train"] + seed)
    steps, found = updates(STEPS, fraction), []
    for lr in RATES[way]:
        if way == "scratch":
            part = 1.0 if fraction == 1 else 0.2
            reached = scratch(images, wanted, lr, seed, steps, part)
        else:
            reached = frozen(images, wanted, way == "frozen", lr, seed, steps)
        found.append((*reached, lr))
    val, test, lr = max(found)
    return {"iou": test, "val_iou": val, "rate": lr}
