"""Other domains of the wafer micrographs, made on purpose.

They show what happens to a classifier when the world it meets is no longer the one it
was trained in.  Each function takes the micrographs of the first fab and gives those
of a second one, which differs in exactly one way:

==========  ==========================================================================
tool        another inspection tool: soft optics, noise in each channel, line banding,
            a warm colour cast; covariate shift
lighting    dark-field light: the picture is inverted, dim and lit from one corner;
            covariate shift
mix         another product: the same pictures of each class in other proportions;
            label shift
labelling   another rule: a short crack is filed as a scratch, a small residue as a
            particle; concept shift
==========  ==========================================================================

The strengths were fixed by eye, so that every defect that can be seen in the original
can still be seen, before any classifier had met the pictures, and kept.
"""

from dataclasses import replace

import numpy as np

from course_lib.datasets import wafer_micrographs
from course_lib.datasets.images import ImageDataset
from course_lib.errors import CourseError

KINDS = ("tool", "lighting", "mix", "labelling")
MIX = (0.50, 0.05, 0.25, 0.05, 0.15)  # scratch, particle, residue, bridge, crack
SHORT_CRACK = 36.0  # px, about half of them
SMALL_RESIDUE = 28.0  # px, about half of them
CAST = np.array([1.18, 0.97, 0.76])  # gains of red, green, blue
CORNER = 10  # px, the side of the mark


def shifted(data: ImageDataset, kind: str, seed: int = 0) -> ImageDataset:
    """The same micrographs as a second fab would have them.

    kind: one of ``KINDS``, or several joined by " + ", applied in the order of
    ``KINDS``.  Every picture's noise is drawn from (seed, place in the data set).
    Raises CourseError for an unknown kind, or data that are no micrographs.
    """
    wanted = [part.strip() for part in kind.split("+")]
    if unknown := set(wanted) - set(KINDS):
        raise CourseError(
            f"There is no shift {sorted(unknown)[0]!r}.\nExpected: one of "
            f"{', '.join(KINDS)}, or several joined by ' + '."
        )
    if tuple(data.classes) != wafer_micrographs.CLASSES:
        raise CourseError(
            f"shifted: {data.name!r} has the classes {list(data.classes)}.\nExpected: "
            "wafer micrographs, datasets.load('wafer_micrographs', ...)."
        )
    makers = {"tool": tool, "lighting": lighting, "mix": mix, "labelling": labelling}
    for part in KINDS:
        if part in wanted:
            data = makers[part](data, seed)
    return replace(data, name=f"wafer_micrographs, {kind}")


def _blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur along both sides of pictures (N, H, W, 3)."""
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (reach, reach)
        padded = np.pad(images, pad, mode="edge")
        size = images.shape[axis]
        images = sum(
            w * np.take(padded, np.arange(k, k + size), axis=axis)
            for k, w in enumerate(weights)
        )
    return images


def _uint8(images: np.ndarray) -> np.ndarray:
    return np.floor(np.clip(images, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def tool(data: ImageDataset, seed: int = 0) -> ImageDataset:
    """Pictures of another tool: blur, noise in each channel, banding, warm cast."""
    images = _blurred(data.images / 255.0, 0.8) * CAST
    for i, image in enumerate(images):
        rng = np.random.default_rng((seed, 1, i))
        image += 0.05 * rng.standard_normal(image.shape)
        image += 0.04 * rng.standard_normal((len(image), 1, 1))
    return replace(data, images=_uint8(images))


def lighting(data: ImageDataset, seed: int = 0) -> ImageDataset:
    """Pictures in dark-field light: inverted, dim, brightest in a corner."""
    side = data.images.shape[1]
    axis = (np.arange(side) + 0.5) / side
    images = 1.0 - data.images / 255.0
    for i, image in enumerate(images):
        rng = np.random.default_rng((seed, 2, i))
        towards = rng.uniform(-1, 1, 2)
        slope = towards[0] * axis[None, :] + towards[1] * axis[:, None]
        slope = (slope - slope.min()) / (np.ptp(slope) + 1e-9)
        image *= (0.25 + 0.45 * slope)[..., None]
        image += 0.015 * rng.standard_normal(image.shape)
    return replace(data, images=_uint8(images))


def mix(data: ImageDataset, seed: int = 0) -> ImageDataset:
    """As many pictures of each class as fit the proportions ``MIX``."""
    counts = np.bincount(data.labels, minlength=len(MIX))
    total = int(min(n / share for n, share in zip(counts, MIX)))
    rng = np.random.default_rng((seed, 3))
    kept = [
        rng.permutation(np.flatnonzero(data.labels == c))[: round(share * total)]
        for c, share in enumerate(MIX)
    ]
    return data.subset(rng.permutation(np.concatenate(kept)))


def labelling(data: ImageDataset, seed: int = 0) -> ImageDataset:
    """The same pictures, filed by another rule; nothing in the pictures changes."""
    size = data.metadata["defect_size"]
    label = {name: k for k, name in enumerate(data.classes)}
    labels = data.labels.copy()
    labels[(labels == label["crack"]) & (size < SHORT_CRACK)] = label["scratch"]
    labels[(labels == label["residue"]) & (size < SMALL_RESIDUE)] = label["particle"]
    return replace(data, labels=labels)


def marked(data: ImageDataset, shares, seed: int = 0) -> ImageDataset:
    """Put the mark of a review station into a corner of some pictures.

    shares: for each class the probability that its pictures carry the mark, a small
    bright frame; the column ``mark`` of the metadata says which do.  The defect is
    untouched.  Raises CourseError unless there is one probability for each class.
    """
    shares = np.asarray(shares, dtype=np.float64)
    if (
        shares.shape != (len(data.classes),)
        or not ((0 <= shares) & (shares <= 1)).all()
    ):
        raise CourseError(
            f"marked: shares {shares.tolist()}.\nExpected: a probability for each of "
            f"the {len(data.classes)} classes."
        )
    rng = np.random.default_rng((seed, 4))
    mark = rng.random(len(data)) < shares[data.labels]
    images = data.images.copy()
    places = rng.integers(0, 4, len(data))
    for i in np.flatnonzero(mark):
        images[i] = with_mark(images[i], int(places[i]))
    return replace(data, images=images, metadata=data.metadata | {"mark": mark})


def with_mark(image: np.ndarray, place: int) -> np.ndarray:
    """A copy of a picture (H, W, 3) with the mark in corner 0, 1, 2 or 3."""
    image = image.copy()
    corner = image[:: -1 if place & 1 else 1, :: -1 if place & 2 else 1]
    corner[2:CORNER, 2:CORNER] = 235
    corner[4 : CORNER - 2, 4 : CORNER - 2] = 40
    return image
