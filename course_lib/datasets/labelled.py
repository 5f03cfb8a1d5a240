"""What every labelled data set can do, whatever its inputs are.

Counting, taking a stratified sample, splitting: for pictures (:class:`ImageDataset`)
and texts (:class:`TextDataset`) alike.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np

from course_lib.errors import CourseError


class Labelled:
    """Base of the data sets: inputs in the field named ``holds``, one label for each.

    labels: int64 (N,), indices into ``classes``.  metadata: columns of length N.
    """

    holds: ClassVar[str]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple:
        """One input and its label, as a torch DataLoader expects."""
        return self.inputs[index], int(self.labels[index])

    @property
    def inputs(self):
        """The pictures or the texts, whatever they are called."""
        return getattr(self, self.holds)

    def counts(self) -> dict[str, int]:
        """Number of examples of each class, in the order of ``classes``."""
        per_class = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, per_class.tolist()))

    def subset(self, indices: Sequence[int] | np.ndarray) -> Self:
        """The examples at ``indices`` (integers, or a boolean mask of length N)."""
        indices = np.asarray(indices)
        if indices.dtype == bool:
            if indices.shape != (len(self),):
                raise CourseError(
                    f"subset: the mask has shape {indices.shape}, expected "
                    f"({len(self)},), one entry for each image of {self.name!r}."
                )
            indices = np.flatnonzero(indices)
        if indices.size and indices.dtype.kind not in "iu":
            raise CourseError(
                f"subset: indices are {indices.dtype}, expected whole numbers, or a "
                "boolean mask."
            )
        indices = indices.astype(np.int64).reshape(-1)
        if len(indices) and not (
            -len(self) <= indices.min() <= indices.max() < len(self)
        ):
            raise CourseError(
                f"subset: indices run from {indices.min()} to {indices.max()}, but "
                f"{self.name!r} ({self.split}) has {len(self)} {self.holds}."
            )
        columns = {key: values[indices] for key, values in self.metadata.items()}
        some = self.inputs
        some = [some[i] for i in indices] if isinstance(some, tuple) else some[indices]
        own = {self.holds: some, "labels": self.labels[indices], "metadata": columns}
        return replace(self, **own)

    def take(
        self,
        n: int | None = None,
        *,
        n_per_class: int | None = None,
        seed: int = 0,
        stratified: bool = True,
    ) -> Self:
        """A random sample of ``n`` examples, or of ``n_per_class`` of each class.

        Stratified (the default) keeps the class proportions of the data set; the same
        seed gives nested samples: take(25) is contained in take(50) when the classes
        are balanced.  Raises CourseError when there are too few examples.
        """
        if (n is None) == (n_per_class is None):
            raise CourseError("take: give either n or n_per_class, and not both.")
        wanted = n if n is not None else n_per_class
        if int(wanted) != wanted or wanted < 1:
            raise CourseError(f"take: expected a whole number >= 1, got {wanted!r}.")
        if n is not None and n > len(self):
            raise CourseError(
                f"take: {n} {self.holds} wanted, but {self.name!r} ({self.split}) has "
                f"{len(self)}. Ask for fewer, or load a larger pool."
            )
        rng = np.random.default_rng(seed)
        if n is not None and not stratified:
            return self.subset(rng.permutation(len(self))[:n])
        shuffled = _shuffled_by_class(self.labels, len(self.classes), rng)
        if n_per_class is not None:
            shares = [n_per_class] * len(self.classes)
        else:
            shares = _shares(n, [len(members) for members in shuffled])
        for share, members, label in zip(shares, shuffled, self.classes):
            if share > len(members):
                raise CourseError(
                    f"take: {share} {self.holds} of class {label!r} wanted, but "
                    f"{self.name!r} ({self.split}) has {len(members)}."
                )
        chosen = [members[:share] for share, members in zip(shares, shuffled)]
        return self.subset(_interleaved(chosen))


def joined(parts: Sequence[Labelled]) -> Labelled:
    """Data sets of the same classes as one, with the columns that all of them have."""
    first = parts[0]
    inputs = [getattr(part, first.holds) for part in parts]
    whole = sum(inputs, ()) if isinstance(inputs[0], tuple) else np.concatenate(inputs)
    columns = set.intersection(*(set(part.metadata) for part in parts))
    return replace(
        first,
        labels=np.concatenate([part.labels for part in parts]),
        metadata={
            name: np.concatenate([part.metadata[name] for part in parts])
            for name in first.metadata
            if name in columns
        },
        **{first.holds: whole},
    )


def check_labels(data: Labelled) -> None:
    """CourseError unless labels, classes and metadata fit the inputs."""
    labels, n = data.labels, len(getattr(data, data.holds))
    where = f"data set {data.name!r} ({data.split})"
    if not isinstance(labels, np.ndarray) or labels.dtype != np.int64:
        raise CourseError(f"{where}: labels must be an int64 array of shape (N,).")
    if labels.shape != (n,):
        raise CourseError(
            f"{where}: {n} {data.holds} but labels of shape {labels.shape}; "
            f"expected one label for each {data.holds[:-1]}."
        )
    if len(labels) and not (0 <= labels.min() <= labels.max() < len(data.classes)):
        raise CourseError(
            f"{where}: labels run from {labels.min()} to {labels.max()}, expected "
            f"0..{len(data.classes) - 1} for {len(data.classes)} classes."
        )
    for key, column in data.metadata.items():
        if len(column) != len(labels):
            raise CourseError(
                f"{where}: metadata column {key!r} has {len(column)} entries for "
                f"{len(labels)} {data.holds}."
            )


def _shuffled_by_class(labels, n_classes, rng) -> list[np.ndarray]:
    return [rng.permutation(np.flatnonzero(labels == c)) for c in range(n_classes)]


def _shares(n: int, counts: Sequence[int]) -> list[int]:
    """Largest-remainder division of ``n`` in proportion to ``counts``."""
    exact = np.asarray(counts, dtype=np.float64) * n / sum(counts)
    shares = np.floor(exact).astype(int)
    order = np.argsort(-(exact - shares), kind="stable")
    shares[order[: n - shares.sum()]] += 1
    return shares.tolist()


def _interleaved(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Members of all groups, evenly mixed, so that a prefix is nearly balanced."""
    # each member's place is its share of the way through its own group
    rank = [(np.arange(len(group)) + 0.5) / max(len(group), 1) for group in groups]
    members = np.concatenate(groups).astype(np.int64)
    return members[np.argsort(np.concatenate(rank), kind="stable")]
