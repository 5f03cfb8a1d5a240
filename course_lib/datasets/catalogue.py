"""The course's data sets by name: which there are, their splits, and loading one."""

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial

import numpy as np

from course_lib import files, paths
from course_lib.datasets import committed, opinions, real, series, solar_cells
from course_lib.datasets.images import ImageDataset
from course_lib.datasets.texts import TextDataset
from course_lib.errors import CourseError

POOL_SIZE = 10_000
POOL_BLOCK = 1_000


def _public() -> dict[str, tuple[tuple[str, ...], Callable]]:
    """{name: (its splits, load(split))} of the sets that others made."""
    found = {
        "digits": ((*real.DIGIT_SIZES, "test"), real.digits),
        "solar_cells": (tuple(solar_cells.SHARES), solar_cells.load),
    }
    for domain in opinions.DOMAINS:
        parts = (*opinions.SHARES, "unlabelled")
        found[f"opinions/{domain}"] = parts, partial(opinions.load, domain)
    for name in series.NAMES:
        found[f"series/{name}"] = series.SPLITS, partial(series.load, name)
    return found


def names() -> tuple[str, ...]:
    """The data sets that :func:`load` knows."""
    return (*committed.EVERY, *_public())


def splits(name: str) -> tuple[str, ...]:
    """The splits of a data set; "pool" is rendered on demand in any size."""
    if name not in names():
        raise CourseError(
            f"There is no data set {name!r}.\nExpected: one of {', '.join(names())}; "
            "your own data are read with from_folder, from_csv, texts_from_csv or "
            "from_arrays."
        )
    if name in committed.EVERY:
        return (*committed.EVERY[name].SIZES, "pool")
    return _public()[name][0]


def load(
    name: str, split: str = "train", n: int | None = None, seed: int = 0
) -> ImageDataset | TextDataset:
    """One split of one of the course's data sets: images, texts or series.

    Rendered ones hold images (N, 64, 64, 3); of the public ones, `solar_cells` has
    (N, 96, 96, 3), `opinions/DOMAIN` texts, `series/NAME` series; more options have
    :mod:`solar_cells`, :mod:`opinions` and :mod:`series`.
    n: a stratified sample of that many images, drawn with ``seed``; smaller samples of
    the same seed are contained in larger ones.  For the split "pool": how many images
    to render (default 10,000); another seed gives other images, none of which occurs
    in another split.  Pools are kept in the user's cache folder.
    Raises CourseError for an unknown name or split, a missing or damaged file, or too
    large an n.
    """
    if split not in splits(name):
        raise CourseError(
            f"{name!r} has no split {split!r}.\nExpected: one of "
            f"{', '.join(splits(name))}."
        )
    if split == "pool":
        return _pool(name, POOL_SIZE if n is None else n, seed)
    public = _public()
    dataset = public[name][1](split) if name in public else _committed(name, split)
    return dataset if n is None else dataset.take(n, seed=seed)


def _committed(name: str, split: str) -> ImageDataset | TextDataset:
    path = files.verified(committed.file_name(name))
    if name in committed.TEXTS:
        return committed.texts_from(path, name, split)
    key = files.manifest()[committed.file_name(name)]["sha256"]
    kept = _read_once(path, key, name, split)
    # copies: what a caller writes into its arrays must not reach the next caller
    metadata = {column: values.copy() for column, values in kept.metadata.items()}
    return ImageDataset(
        kept.images.copy(), kept.labels.copy(), kept.classes, name, split, metadata
    )


@lru_cache(maxsize=12)
def _read_once(path, sha256: str, name: str, split: str) -> ImageDataset:
    return committed.dataset_from(
        path, f"{split}_", committed.RENDERERS[name].CLASSES, name, split
    )


def _pool(name: str, n: int, seed: int) -> ImageDataset:
    """``n`` images rendered on demand, from the cache when they were rendered before.

    Cached in blocks of 1,000 images, so that a larger pool reuses a smaller one.
    """
    if int(n) != n or n < 1:
        raise CourseError(f"load: expected a whole number n >= 1, got {n!r}.")
    if seed < 0:
        raise CourseError(f"load: expected a seed >= 0, got {seed!r}.")
    if name in committed.TEXTS:  # drawn faster than read
        return committed.TEXTS[name].render(
            n, committed.TEXTS[name].SEED + seed, "pool"
        )
    blocks = [_pool_block(name, k, seed) for k in range(-(-n // POOL_BLOCK))]
    metadata = {
        key: np.concatenate([block.metadata[key] for block in blocks])[:n]
        for key in blocks[0].metadata
    }
    images = np.concatenate([block.images for block in blocks])[:n]
    labels = np.concatenate([block.labels for block in blocks])[:n]
    return ImageDataset(images, labels, blocks[0].classes, name, "pool", metadata)


def _pool_block(name: str, k: int, seed: int) -> ImageDataset:
    renderer = committed.RENDERERS[name]
    source = files.sha256(renderer.__file__)[:12]  # another renderer, another file
    folder = paths.CACHE / "pools"
    path = folder / f"{name}-{source}-seed{seed}-block{k:03d}.npz"
    if path.exists():
        try:
            block = committed.dataset_from(path, "", renderer.CLASSES, name, "pool")
            if len(block) == POOL_BLOCK:
                return block
        except CourseError:  # damaged in the cache: render it again
            path.unlink(missing_ok=True)
    block = renderer.render(
        POOL_BLOCK, renderer.SEED + seed, "pool", first=k * POOL_BLOCK
    )
    content = committed.npz_bytes(committed.dataset_arrays(block), compress=False)
    with suppress(OSError):  # a full disk costs time later, not the lesson now
        files.atomic_write_bytes(path, content)
    return block
