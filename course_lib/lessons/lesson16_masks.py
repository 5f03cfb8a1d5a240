"""Lesson 16's small world: segmentation from few masks.

A shape of one texture lies on another texture, and its mask is known exactly.  The head
is one 1 x 1 convolution on each level of Lite0's pyramid.

Its rivals have the same masks.  A small network is trained from random weights until
its validation IoU has stopped rising.  "border" trains nothing: it marks the pixels
whose colour is far from the mean colour of the picture's border.
"""

from functools import lru_cache

import torch
from torch import nn

from course_lib.lessons import solar
from course_lib.lessons.results import experiment
from course_lib.methods import segmentation
from course_lib.methods.segmentation import PyramidHead, Scaled
from course_lib.models import zoo
from course_lib.pretraining import patterns, shapes, textures

COUNTS = (5, 20, 80)  # of masks
SEEDS = range(5)
SIZES = {"validation": 40, "test": 200}
SIDE = 64
STEPS, ALONE = 100, 600  # updates of a head, and of a network from random weights
RATE = 1e-2
ALONE_RATE = 3e-2  # of 1e-3, 3e-3, 1e-2, 3e-2, 1e-1 best on validation, first draw
WIDTHS = (16, 32, 64, 128)
CUTS = 50  # distances from the border's colour that are tried
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


class Small(nn.Module):
    """Four stages of two 3 x 3 convolutions each, and the same head: 0.3 million."""

    def __init__(self, seed):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stages = nn.ModuleList(
                nn.Sequential(*_block(i, o, stride=2), *_block(o, o, stride=1))
                for i, o in zip((3, *WIDTHS), WIDTHS)
            )
        self.head = PyramidHead(WIDTHS, seed=seed)

    def forward(self, x):
        maps = []
        for stage in self.stages:
            maps.append(stage(maps[-1] if maps else x))
        return self.head(maps, x.shape[-2:])


def _block(ins, outs, stride):
    convolution = nn.Conv2d(ins, outs, 3, stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outs), nn.ReLU()


def pixels(images):
    """Pictures uint8 (N, H, W, 3) as (N, 3, H, W) from -1 to 1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def small(n, seed):
    """The same of a small network from random weights."""
    images, masks = drawn(n, FIRST["train"] + seed)
    X, net = pixels(images), Small(seed)
    data = {split: drawn(number, FIRST[split]) for split, number in SIZES.items()}

    def score(split):
        with torch.no_grad():
            return segmentation.iou(net(pixels(data[split][0])), data[split][1])

    segmentation.fit(
        lambda rows: net(X[rows]),
        net,
        masks,
        lambda: score("validation"),
        steps=ALONE,
        lr=ALONE_RATE,
        seed=seed,
    )
    return score("test")


def from_border(images):
    """Distance of each pixel's colour from the mean colour of the border, (N,1,H,W)."""
    x = pixels(images)
    edge = torch.cat([x[..., 0, :], x[..., -1, :], x[..., 0], x[..., -1]], dim=2)
    return (x - edge.mean(dim=2)[..., None, None]).norm(dim=1, keepdim=True)


def border(n, seed):
    """IoU on the test pictures of the pixels that are far from the border's colour.

    How far is the distance of the best IoU on the n training masks.
    """
    images, masks = drawn(n, FIRST["train"] + seed)
    far = from_border(images)
    cuts = torch.quantile(far.flatten()[::16], torch.linspace(0, 0.99, CUTS))
    cut = max(cuts, key=lambda cut: segmentation.iou(far - cut, masks))
    unseen, wanted = drawn(SIZES["test"], FIRST["test"])
    return segmentation.iou(from_border(unseen) - cut, wanted)


def everything():
    """IoU of calling every pixel of the test pictures a shape."""
    wanted = drawn(SIZES["test"], FIRST["test"])[1]
    return segmentation.iou(torch.ones_like(wanted), wanted)


WAYS = {  # numbers of masks, and draws of pictures; "small" takes longest
    "frozen": (COUNTS, SEEDS),
    "border": (COUNTS, SEEDS),
    "small": (COUNTS[-1:], SEEDS[:4]),
    "frozen_random": (COUNTS[-1:], SEEDS),
}


@experiment(
    "few_masks",
    grid=[
        dict(way=way, masks=n, seed=seed)
        for way, (counts, seeds) in WAYS.items()
        for n in counts
        for seed in seeds
    ],
    sample=[dict(way="frozen", masks=COUNTS[0], seed=0)],
    tolerance={"iou": 0.02},
    data=("assets/efficientnet-lite0",),
)
def few_masks(way, masks, seed):
    """Intersection over union of the shapes' pixels in pictures held back."""
    if way in ("small", "border"):
        return {"iou": {"small": small, "border": border}[way](masks, seed)}
    return {"iou": frozen(masks, seed, way == "frozen")}
