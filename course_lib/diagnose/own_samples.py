"""The data of a diagnosis: checked, split, fingerprinted."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from course_lib import training
from course_lib.datasets.labelled import Labelled, joined
from course_lib.datasets.messages import listed
from course_lib.datasets.near_duplicates import digests
from course_lib.diagnose import modality as modalities
from course_lib.diagnose.modality import Modality
from course_lib.diagnose.settings import Settings
from course_lib.errors import CourseError

LEAST = 8  # examples of a class: to train on, to choose by and to test on
LEAST_TEST = 200  # examples from which on all repeats have one test set
MOST_TEST, MOST_VALIDATION = 1000, 500
UNEQUAL = 1.5  # largest class over smallest: from here on balanced accuracy
FORMAT = 5  # of the stored steps


@dataclass(frozen=True)
class Samples:
    """Labelled pictures or texts, a test set of its own if there is one, and how both
    were read.  notes: sentences for the report.
    """

    examples: Labelled
    test: Labelled | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Job:
    """The backbone, the examples and their parts: all that a step needs."""

    modality: Modality
    backbone: object
    data: Labelled  # the examples that are used; metadata: the groups
    parts: list  # (train, validation, test) rows of each repeat
    shared_test: bool  # is the test part the same in every repeat?
    balanced: bool  # is balanced accuracy the measure?
    about: dict
    settings: Settings
    notes: list[str]
    key: str
    steps: int = 0
    rates: dict = field(default_factory=dict)  # {arm: rates}, where these are fewer
    kept: dict = field(default_factory=dict)  # features that are computed once

    def subsets(self, r: int):
        """Training, validation and test examples of a repeat."""
        return [self.data.subset(rows) for rows in self.parts[r]]

    def score(self, predictions, labels) -> float:
        measure = training.balanced_accuracy if self.balanced else training.accuracy
        return measure(predictions, labels)

    def seed(self, r: int) -> int:
        return 1000 * self.settings.seed + r


def splits(
    labels, labels_per_class: int | None, repeats: int, seed: int = 0, test=()
) -> tuple[list[tuple[np.ndarray, np.ndarray, np.ndarray]], bool]:
    """([(train, validation, test) rows of each repeat], is the test part shared?).

    Stratified, disjoint within a repeat, and a function of labels and seed alone.
    With a budget n = labels_per_class a repeat trains on n examples of each class and
    chooses on n / 2 more (2 at least): nobody who has few labels has many to validate
    with.  Without one it trains on four fifths of what is not held out and chooses on
    the rest, at most 500.  Half of the examples (a quarter without a budget), at most
    1,000, are held out as one test part for all repeats, if these are at least 200, or
    with a budget at least as many as a repeat trains on: test parts that overlap and
    are larger than that have an interval of no use (statistics.resampled_interval).
    With fewer examples every repeat has a test part of its own: all that is left over
    with a budget, a quarter without.  ``test``: rows that are the test part.
    Raises CourseError where the smallest class has too few examples for n.
    """
    labels, n = np.asarray(labels), labels_per_class
    given = np.isin(np.arange(len(labels)), test)
    rng = np.random.default_rng(seed)
    classes = range(int(labels.max()) + 1)
    members = [rng.permutation(np.flatnonzero((labels == c) & ~given)) for c in classes]
    counts = np.array([len(m) for m in members])
    chosen_on = None if n is None else _validation_size(n, counts, given.any())
    if given.any():
        held_out, shared = np.flatnonzero(given), True
    else:
        sizes = counts // 4
        if n is not None:  # never what a repeat trains on and chooses by
            sizes = np.minimum(counts // 2, counts - n - chosen_on)
        sizes = _levelled(np.maximum(sizes, 2), MOST_TEST)
        enough = LEAST_TEST if n is None else min(LEAST_TEST, n * len(counts))
        shared = bool(sizes.sum() >= enough)
        held_out = np.concatenate([m[:k] for m, k in zip(members, sizes)])
        if shared:
            members = [m[k:] for m, k in zip(members, sizes)]
    parts = []
    for r in range(repeats):
        rng = np.random.default_rng((seed, r + 1))  # seed + r is another seed's
        own = [rng.permutation(m) for m in members]
        if n is None:
            used = np.array([len(m) - max(2, len(m) // 4) * (not shared) for m in own])
            ends = used - _levelled(np.maximum(used // 5, 1), MOST_VALIDATION)
        else:
            ends = np.full(len(own), n)
            used = ends + chosen_on
        train = np.concatenate([m[:a] for m, a in zip(own, ends)])
        validation = np.concatenate([m[a:b] for m, a, b in zip(own, ends, used)])
        tested = held_out
        if not shared:
            left = [m[b:] for m, b in zip(own, used)]
            sizes = _levelled(np.array([len(m) for m in left]), MOST_TEST)
            tested = np.concatenate([m[:k] for m, k in zip(left, sizes)])
        parts.append((rng.permutation(train), validation, np.sort(tested)))
    return parts, shared


def _validation_size(n: int, counts, test_given: bool) -> int:
    """Pictures of each class to choose by, when n are trained on."""
    spare = int(counts.min()) - n - 2 * (not test_given)
    if spare < 2:
        raise CourseError(
            f"diagnose: {n} labels of each class were asked for, and the smallest "
            f"class has {counts.min()} examples.\nExpected: {n + 4 - 2 * test_given} "
            "or more, so that some are left to choose by and to test on.\nDo: ask for "
            "fewer labels, or add examples."
        )
    return min(max(2, n // 2), spare)


def _levelled(sizes, most: int):
    """Class sizes, the largest cut to one level so that all sum to at most ``most``."""
    if sizes.sum() <= most:
        return sizes
    levels = np.arange(1, sizes.max() + 1)
    sums = np.minimum(sizes[:, None], levels).sum(axis=0)
    return np.minimum(sizes, max(levels[sums <= most], default=1))


def joined_parts(found) -> Samples:
    """Samples of what a reader of :mod:`course_lib.datasets` found.

    Parts for training and validation are put together: the diagnosis draws its own from
    them; a test part stays one.
    """
    given = [found.parts[p] for p in ("all", "train", "validation") if p in found.parts]
    examples = given[0] if len(given) == 1 else joined(given)
    return Samples(examples, found.parts.get("test"), tuple(found.notes()))


def prepared(backbone, samples: Samples, groups, settings: Settings) -> Job:
    """Check the data, split them, and fingerprint everything that matters."""
    modality = modalities.of_data(samples.examples)
    modalities.check_backbone(backbone, modality)
    settings = settings.completed(modality)
    notes = [*backbone.notes, *samples.notes]
    names = samples.examples.metadata.get("example")
    data, test = _grouped(samples.examples, samples.test, groups)
    about = {"inputs": modality.inputs, "given": len(data)}
    data = _without_copies(data, test, names, modality.inputs, notes)
    _check_counts(data, modality.inputs)
    data = _at_most(data, modality, settings.seed, notes)
    counts, name = data.counts(), data.name
    tested = ()
    if test is not None:
        data, tested = _with_test(data, test)
    backbone, data = modality.fitted(backbone, data, notes)
    n, most = settings.labels_per_class, settings.repeats[1]
    parts, shared = splits(data.labels, n, most, settings.seed, tested)
    used, parts = _only_used(parts)
    sizes = list(counts.values())
    about |= modality.about(data)
    about |= {
        "read": modality.size(about),
        "name": name,
        "classes": list(data.classes),
        "counts": counts,
        "train": len(parts[0][0]),
        "validation": len(parts[0][1]),
        "test": len(parts[0][2]),
        "pool": len(used) - len(parts[0][2]),
        "shared_test": shared,
    }
    return Job(
        modality=modality,
        backbone=backbone,
        data=data.subset(used),
        parts=parts,
        shared_test=shared,
        balanced=max(sizes) > UNEQUAL * min(sizes),
        about=about,
        settings=settings,
        notes=notes,
        key=_key(backbone, data, parts, settings, samples.notes),
    )


def _grouped(data, test, groups):
    """Data and test set whose metadata are the groups alone, few values each."""
    if isinstance(groups, Mapping):
        columns = {key: np.asarray(values) for key, values in groups.items()}
        data = replace(data, metadata=columns)
    names = list(groups or ())
    out = []
    for part in (data, test):
        if part is None:
            out.append(None)
            continue
        if missing := [name for name in names if name not in part.metadata]:
            raise CourseError(
                f"diagnose: {part.name!r} has no column {missing[0]!r}.\nExpected: one "
                f"of {', '.join(part.metadata) or '(there are none)'}.\nDo: correct "
                "the name, or leave it out."
            )
        columns = {name: _few_values(name, part.metadata[name]) for name in names}
        out.append(replace(part, metadata=columns))
    return out


def _few_values(name: str, values) -> np.ndarray:
    """A column as texts: at most 20 different ones, numbers cut at their quartiles."""
    values = np.asarray(values)
    if len(np.unique(values)) <= 20:
        return values.astype(str)
    try:
        numbers = values.astype(np.float64)
    except ValueError:
        raise CourseError(
            f"diagnose: column {name!r} has {len(np.unique(values))} different values."
            "\nExpected: numbers, or at most 20 groups.\nDo: leave it out."
        ) from None
    edges = np.nanquantile(numbers, (0, 0.25, 0.5, 0.75, 1))
    place = np.clip(np.searchsorted(edges, numbers, side="left") - 1, 0, 3)
    texts = [f"{a:.4g} to {b:.4g}" for a, b in zip(edges, edges[1:])]
    found = np.array(texts)[place]
    return np.where(np.isnan(numbers), "missing", found)


def _without_copies(data, test, names, inputs, notes):
    """The first of examples with equal :func:`digests`; none that is in ``test``."""
    held_out = set() if test is None else set(digests(test))
    first: dict[str, int] = {}
    for i, digest in enumerate(digests(data)):
        if digest not in held_out:
            first.setdefault(digest, i)
    if len(first) == len(data):
        return data
    said = ""
    if names is not None:
        rest = sorted(set(range(len(data))) - set(first.values()))
        said = f" ({listed([names[row] for row in rest])})"
    notes.append(
        f"{len(data) - len(first)} {inputs} are copies of others and were left out: "
        f"they would stand in training and in test{said}."
    )
    return data.subset(np.array(list(first.values()), dtype=int))


def _check_counts(data, inputs: str) -> None:
    counts = data.counts()
    name = min(counts, key=counts.get)
    if counts[name] < LEAST:
        raise CourseError(
            f"diagnose: class {name!r} of {data.name!r} has {counts[name]} different "
            f"{inputs}.\nExpected: {LEAST} or more in each class, to train on, "
            f"to choose by and to test on.\nDo: add {inputs}, or remove the class."
        )


def _at_most(data, modality, seed, notes):
    most, inputs = modality.most, modality.inputs
    if len(data) <= most:
        return data
    notes.append(f"{most:,} of the {len(data):,} {inputs} were drawn and used.")
    rng = np.random.default_rng(seed)
    sizes = _levelled(np.array(list(data.counts().values())), most)
    rows = [
        rng.permutation(np.flatnonzero(data.labels == c))[:size]
        for c, size in enumerate(sizes)
    ]
    return data.subset(np.sort(np.concatenate(rows)))


def _with_test(data, test):
    """(both sets in one, rows of the test set)."""
    shapes = [getattr(part, "images", np.empty(1)).shape[1:] for part in (data, test)]
    if shapes[0] != shapes[1] or data.classes != test.classes or not len(test):
        raise CourseError(
            f"diagnose: {data.holds} {shapes[0]} of classes {list(data.classes)}, and "
            f"a test set of {len(test)} {test.holds} {shapes[1]} of "
            f"{list(test.classes)}.\nExpected: the same sizes and classes.\nDo: read "
            "both with the same size and classes=."
        )
    both = joined([data, test])
    return both, np.arange(len(data), len(both))


def _only_used(parts):
    """(rows that occur in any part, the parts as places among these)."""
    used = np.unique(np.concatenate([rows for part in parts for rows in part]))
    return used, [tuple(np.searchsorted(used, rows) for rows in p) for p in parts]


def _key(backbone, data, parts, settings, read_as) -> str:
    """sha256 of weights, examples, labels, groups, parts and settings."""
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
    for content in digests(data, exact=True):
        digest.update(content.encode())
    for array in (data.labels, *(rows for part in parts for rows in part)):
        digest.update(np.ascontiguousarray(array).tobytes())
    columns = {name: values.tolist() for name, values in data.metadata.items()}
    words = [FORMAT, backbone.name, repr(backbone.preprocess), data.classes, columns]
    words += [settings.to_dict(), *read_as]
    digest.update(json.dumps(words, default=str).encode())
    return digest.hexdigest()
