"""Real images that scikit-learn ships: two photographs, and handwritten digits.

Nothing is downloaded: the files are part of the installed scikit-learn.  Their
licences and origins are in data/cards/real_images.md.
"""

import numpy as np

from course_lib.datasets.images import ImageDataset

DIGIT_CLASSES = tuple(str(k) for k in range(10))
DIGIT_SIZES = {"train": 600, "validation": 500}  # the rest (697) is for testing
SIDE = 64


def photographs() -> dict[str, np.ndarray]:
    """{"china", "flower"}: uint8 (427, 640, 3) RGB photographs."""
    from sklearn.datasets import load_sample_images

    sample = load_sample_images()
    names = [str(name).rsplit("/", 1)[-1].split(".")[0] for name in sample.filenames]
    return {name: np.array(image) for name, image in zip(names, sample.images)}


def _cubic_weights(source: int, target: int) -> np.ndarray:
    """Keys' cubic interpolation (a = -1/2) as a matrix (target, source)."""
    place = (np.arange(target) + 0.5) * source / target - 0.5
    first = np.floor(place).astype(int) - 1
    weights = np.zeros((target, source))
    for k in range(4):
        d = np.abs(place - (first + k))
        near = 1 - 2.5 * d**2 + 1.5 * d**3
        far = 2 - 4 * d + 2.5 * d**2 - 0.5 * d**3
        value = np.where(d <= 1, near, np.where(d < 2, far, 0.0))
        column = np.clip(first + k, 0, source - 1)
        np.add.at(weights, (np.arange(target), column), value)
    return weights


def _upscaled(grey: np.ndarray) -> np.ndarray:
    """Grey levels 0..16, (N, 8, 8), to uint8 RGB (N, 64, 64, 3)."""
    weights = _cubic_weights(grey.shape[1], SIDE)
    large = weights @ grey.astype(np.float64) @ weights.T
    # weights are multiples of 2**-13, so that rounding is the same everywhere
    levels = np.floor(np.clip(large / 16, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def digits(split: str = "train") -> ImageDataset:
    """scikit-learn's 1,797 digits (8x8) enlarged bicubically to uint8 (N, 64, 64, 3).

    Fixed stratified splits: train 600, validation 500, test 697.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    labels = source.target.astype(np.int64)
    rng = np.random.default_rng(1797)
    shuffled = [rng.permutation(np.flatnonzero(labels == k)) for k in range(10)]
    first, parts = 0, {}
    for name, size in DIGIT_SIZES.items():
        each = size // 10
        parts[name] = np.stack([m[first : first + each] for m in shuffled], 1).ravel()
        first += each
    parts["test"] = np.sort(np.concatenate([members[first:] for members in shuffled]))
    indices = parts[split]
    images = _upscaled(source.images[indices])
    return ImageDataset(images, labels[indices], DIGIT_CLASSES, "digits", split)
