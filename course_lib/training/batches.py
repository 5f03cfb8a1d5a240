"""From data to batches: what the loop takes its updates from.

:class:`Examples` holds data of any accepted form, preprocessed once where that fits in
memory; :class:`Batches` shuffles them for ever; :class:`Feed` augments a batch, brings
it to the device and gives each of several processes its rows.
"""

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import torch

from course_lib.errors import CourseError
from course_lib.models.features import to_device

CACHE_BYTES = 1 << 29  # images whose tensors are larger are preprocessed per batch
POOL = 16  # batches whose examples are sorted by length together


class Examples:
    """Training or evaluation data in one of two forms.

    ``inputs`` (a tensor, or a dict of tensors) and ``labels`` in memory; or, for a
    torch Dataset or DataLoader, a ``loader`` that is iterated as it is.
    """

    def __init__(self, data, preprocess, batch_size: int, where: str, cache=True):
        self.prepare = None
        self.loader = None
        self.classes = getattr(data, "classes", None)
        if isinstance(data, torch.utils.data.DataLoader):
            self.loader, self._preprocess = data, preprocess
            self.n, self.steps = len(data.dataset), len(data)
            self.classes = getattr(data.dataset, "classes", None)
            return
        images, labels = _inputs_and_labels(data, where)
        self.labels = _checked_labels(labels, len(images), where)
        self.n = len(self.labels)
        if not self.n:
            raise CourseError(
                f"The {where} data are empty.\nExpected: at least one example.\n"
                "Do: check the split or the folder that they were loaded from."
            )
        if self.classes is not None:
            check_labels(self.labels, len(self.classes), where)
        alone = self.n > 1 and self.n % batch_size == 1  # BatchNorm needs two examples
        self.steps = math.ceil(self.n / batch_size) - alone
        self.inputs, self.prepare = _prepared(images, preprocess, where, cache)

    def batch(self, rows: torch.Tensor):
        """Inputs and labels of the given rows; tokens end with the longest of them."""
        if isinstance(self.inputs, Mapping):
            some = {k: v[rows] for k, v in self.inputs.items()}
            return _trimmed(some), self.labels[rows]
        x = self.inputs[rows]
        return (self.prepare(x) if self.prepare else x), self.labels[rows]

    def lengths(self) -> torch.Tensor | None:
        """Tokens of each example (n,); None for inputs that are not padded."""
        if self.loader is not None or not isinstance(self.inputs, Mapping):
            return None
        mask = self.inputs.get("attention_mask")
        return None if mask is None or mask.ndim != 2 else mask.sum(dim=1)

    def endless(self, batch_size: int, generator, by_length: bool = False):
        """Training batches for ever, reshuffled at the start of each pass.

        by_length: those of padded inputs hold examples of like length.
        """
        if self.loader is not None:
            passes = (self._loaded() for _ in iter(int, 1))  # for ever
            return itertools.chain.from_iterable(passes)
        return Batches(self, batch_size, generator, by_length)

    def by_length(self) -> torch.Tensor | None:
        """Rows from the shortest to the longest example, None without lengths.

        In this order a batch has little padding.
        """
        lengths = self.lengths()
        return None if lengths is None else lengths.argsort(stable=True)

    def once(self, batch_size: int, processes=None, rows=None):
        """Every example once, for evaluation; of several processes, mine.

        rows: their order; as they stand by default, and always of a loader.
        """
        if self.loader is not None:
            yield from self._loaded()
            return
        order = torch.arange(self.n) if rows is None else rows
        for rows in order.split(batch_size):
            own, weight = processes.share(rows) if processes else (rows, 1.0)
            if weight:
                yield self.batch(own)

    def _loaded(self):
        for x, y in self.loader:
            if getattr(x, "dtype", None) == torch.uint8 and self._preprocess:
                x = self._preprocess(x)
            yield x, torch.as_tensor(y)


class Batches:
    """Training batches for ever, reshuffled at the start of each pass.

    ``rows()`` gives the rows of the next batch alone.  ``state()`` and ``restore()``
    bring the order back in the middle of a pass: the rows still to come and the
    generator, which augmentations share.  by_length: batches of padded inputs hold
    examples of like length.
    """

    def __init__(self, examples: Examples, batch_size: int, generator, by_length=False):
        self.examples, self.batch_size = examples, batch_size
        self.generator, self.left = generator, torch.empty(0, dtype=torch.int64)
        self.lengths = examples.lengths() if by_length else None

    def rows(self) -> torch.Tensor:
        n = self.examples.n
        if len(self.left) == 0 or (len(self.left) == 1 and n > 1):
            self.left = torch.randperm(n, generator=self.generator)
            if self.lengths is not None:
                self.left = self._like_lengths(self.left)
        rows, self.left = self.left[: self.batch_size], self.left[self.batch_size :]
        return rows

    def _like_lengths(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of a pass, so that a batch of them has examples of like length.

        Shuffled rows are sorted POOL batches at a time, then the batches are shuffled;
        what fills no batch stands last.
        """
        pools = rows.split(POOL * self.batch_size)
        rows = torch.cat([p[self.lengths[p].argsort(stable=True)] for p in pools])
        whole = len(rows) // self.batch_size
        end = whole * self.batch_size
        batches = rows[:end].view(whole, self.batch_size)
        order = torch.randperm(whole, generator=self.generator)
        return torch.cat([batches[order].flatten(), rows[end:]])

    def __iter__(self):
        return self

    def __next__(self):
        return self.examples.batch(self.rows())

    def state(self) -> dict[str, torch.Tensor]:
        return {"left": self.left, "generator": self.generator.get_state()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        self.left = state["left"]
        self.generator.set_state(state["generator"].clone())


class Batch(NamedTuple):
    """One process's part of a training batch.

    inputs: a tensor (n, ...) or a dict of them.  labels: (n,).  weight: of its mean in
    the mean over the whole batch.  size: examples in the whole batch.
    """

    inputs: torch.Tensor | Mapping[str, torch.Tensor]
    labels: torch.Tensor
    weight: float
    size: int


class Feed:
    """Training batches as the loop takes them: augmented, on the device, shared out.

    recipe: a training.Recipe, for its batches and augmentation.  Order and augmentation
    draw from one generator, and an augmentation draws for the whole batch, so that one
    process or several see the same pictures.
    """

    def __init__(self, examples: Examples, recipe, seed: int, device, processes):
        self.generator = torch.Generator().manual_seed(seed)
        self.batches = examples.endless(
            recipe.batch_size, self.generator, recipe.by_length
        )
        self.augment = recipe.augment
        self.device, self.processes = device, processes

    def __iter__(self):
        return self

    def __next__(self) -> Batch:
        if self.augment is None and isinstance(self.batches, Batches):
            rows = self.batches.rows()
            own, weight = self.processes.share(rows)
            x, y = self.batches.examples.batch(own)
            x, y = to_device(x, self.device), y.to(self.device)
            return Batch(x, y, weight, len(rows))
        x, y = next(self.batches)
        x, y = to_device(x, self.device), y.to(self.device)
        if self.augment is not None:
            x = self.augment(x, self.generator)
        if isinstance(x, Mapping):
            own = {key: self.processes.share(values)[0] for key, values in x.items()}
        else:
            own, _ = self.processes.share(x)
        labels, weight = self.processes.share(y)
        return Batch(own, labels, weight, len(y))


def _trimmed(tokens: dict) -> dict:
    """Tokens (N, T) without the columns that are padding in every row."""
    mask = tokens.get("attention_mask")
    if mask is None or mask.ndim != 2:
        return tokens
    used = mask.any(dim=0).nonzero()
    last = int(used.max()) + 1 if len(used) else 1
    return {
        k: v[:, :last] if v.shape[:2] == mask.shape else v for k, v in tokens.items()
    }


def _inputs_and_labels(data, where: str):
    if hasattr(data, "texts") and hasattr(data, "labels"):
        return data.texts, data.labels
    if hasattr(data, "images") and hasattr(data, "labels"):
        return data.images, data.labels
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return data
    if isinstance(data, torch.utils.data.Dataset):
        pairs = [data[i] for i in range(len(data))]
        inputs = [x if isinstance(x, str) else torch.as_tensor(x) for x, _ in pairs]
        if inputs and isinstance(inputs[0], torch.Tensor):
            inputs = torch.stack(inputs)
        return inputs, torch.as_tensor([int(y) for _, y in pairs])
    raise CourseError(
        f"The {where} data are of type {type(data).__name__}.\n"
        "Expected: an ImageDataset, a pair (inputs, labels), a torch Dataset or a "
        "DataLoader.\nDo: course_lib.datasets.from_arrays or from_folder makes one."
    )


def _checked_labels(labels, n: int, where: str) -> torch.Tensor:
    labels = torch.as_tensor(labels)
    if labels.dtype.is_floating_point or labels.dtype == torch.bool:
        raise CourseError(
            f"The {where} labels are {labels.dtype}.\nExpected: whole numbers, the "
            "index of the class.\nDo: labels.astype('int64')."
        )
    if len(labels) != n:
        raise CourseError(
            f"The {where} data hold {n} inputs and {len(labels)} labels.\n"
            "Expected: one label for each input.\nDo: compare their order and lengths."
        )
    return labels.long()


def check_labels(labels: torch.Tensor, classes: int, where: str) -> None:
    """Raise CourseError unless all labels lie in 0 ... classes - 1."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise CourseError(
            f"The {where} labels run from {low} to {high}.\nExpected: 0 to "
            f"{classes - 1}, one number for each of {classes} classes.\n"
            "Do: renumber the labels, or give the model a head of "
            f"{high + 1} outputs (backbone.to_classes({high + 1}))."
        )


def _prepared(images, preprocess, where: str, cache: bool):
    """(inputs, function applied per batch): preprocessed once when that fits."""
    if isinstance(images, Mapping):
        return images, None
    if isinstance(images, (list, tuple)) and images and isinstance(images[0], str):
        if preprocess is None:
            raise CourseError(
                f"The {where} data are texts; pass preprocess=tokenizer.\n"
                "Expected: a model that carries its tokenizer, or the tokenizer.\n"
                "Do: zoo.load('minilm', num_classes=n), or preprocess=tokenizer."
            )
        return dict(preprocess(list(images))), None
    x = images if isinstance(images, torch.Tensor) else torch.as_tensor(images)
    if x.dtype == torch.float64:
        x = x.float()
    if x.dtype.is_floating_point:
        return x, None
    if x.dtype != torch.uint8:
        raise CourseError(
            f"The {where} inputs are {x.dtype}.\nExpected: uint8 images (N, H, W, 3), "
            "or float features that need no preprocessing.\n"
            "Do: images.astype('uint8'), or features.astype('float32')."
        )
    if preprocess is None:
        raise CourseError(
            f"The {where} inputs are uint8 images, and the model carries no "
            "preprocessing.\nExpected: the scaling that the weights were trained with."
            "\nDo: pass preprocess=..., or a Backbone from course_lib.zoo.load."
        )
    if len(x) == 0:
        return x.float(), None
    example = preprocess(x[:1])
    if not cache or example.numel() * example.element_size() * len(x) > CACHE_BYTES:
        return x, preprocess
    prepared = torch.empty((len(x), *example.shape[1:]), dtype=example.dtype)
    for start in range(0, len(x), 512):
        prepared[start : start + 512] = preprocess(x[start : start + 512])
    return prepared, None
