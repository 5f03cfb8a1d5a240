"""What an audit is given, resolved once for all its checks."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.methods.lora import LoRALinear
from course_lib.models.features import forward, network


@dataclass(frozen=True)
class Loop:
    """How your training loop makes inputs of the examples, and steps of the batches.

    preprocess: what turns the pictures into inputs, compared with the Backbone's own.
    pooling: how one vector is made of the encoder's output ("mean", "cls", "last",
    "max").  tokenizer, and prompts (texts, or their numbers of tokens, one a row): of
    the batch that the audit is given.  batch_size: of training; smallest_batch: below
    which BatchNorm is noise.  scheduler: of torch, transformers or timm.  precision:
    of autocast ("fp16", "bf16", a dtype); scaler: a GradScaler.  loss: f(network,
    batch) -> scalar, instead of the model's own loss or cross-entropy.  accumulate:
    f(network, micro-batches), your accumulation of gradients without the update.
    """

    preprocess: Callable | None = None
    pooling: str | None = None
    tokenizer: Any = None
    prompts: Sequence | None = None
    batch_size: int | None = None
    smallest_batch: int = 8
    scheduler: Any = None
    precision: Any = None
    scaler: Any = None
    loss: Callable | None = None
    accumulate: Callable | None = None


@dataclass(frozen=True)
class Run:
    """What a run has left so far, and what its weights are to serve for.

    history: a training.History, anything with ``val_loss``, a list of losses, or the
    ``log_history`` of transformers; kept: index of the evaluation whose weights are
    used.  training: False after training or for a model that was loaded to be used.
    saved: the file or folder that the weights or the adapter came from or went to.
    rebuild: f() -> the base network as the program that serves it will build it, or
    True for its own class; the model is then saved to a temporary folder, loaded and
    compared.
    """

    history: Any = None
    kept: int | None = None
    training: bool = True
    saved: Any = None
    rebuild: Callable | bool | None = None


@dataclass
class Setup:
    """The arguments of `audit`; data sets are taken out of their loaders."""

    model: Any
    optimizer: Any
    train: Any
    val: Any
    test: Any
    batch: Any
    loop: Loop
    run: Run

    def __post_init__(self):
        self.loader, self.net = self.train, network(self.model)
        self.train, self.val, self.test = map(
            data_of, (self.train, self.val, self.test)
        )
        self.batch_size = self.loop.batch_size
        if self.batch_size is None:
            self.batch_size = getattr(self.loader, "batch_size", None)
        self.groups = parameter_groups(self.optimizer)
        self.tuners = tuners(self.net)

    @property
    def adapted(self) -> bool:
        """Does the model carry adapters, of peft or of `course_lib.methods.lora`?"""
        return bool(self.tuners) or isinstance(
            getattr(self.net, "peft_config", None), Mapping
        )


def data_of(data):
    """The data set behind a DataLoader, subsets of one resolved."""
    subset = torch.utils.data.Subset
    if isinstance(data, torch.utils.data.DataLoader):
        data = data.dataset
    if isinstance(data, subset) and hasattr(data.dataset, "subset"):
        data = data.dataset.subset(np.asarray(data.indices))
    return data


def parameter_groups(optimizer):
    """The groups of an optimizer, or a list of groups as it is; None without one.

    Raises CourseError for anything else.
    """
    if optimizer is None:
        return None
    groups = getattr(optimizer, "param_groups", optimizer)
    if not isinstance(groups, (list, tuple)) or not all(
        isinstance(group, Mapping) and "params" in group for group in groups
    ):
        raise CourseError(
            f"audit: optimizer is a {type(optimizer).__name__}.\nExpected: a torch "
            "optimizer or a list of parameter groups.\nDo: pass the optimizer itself."
        )
    return groups


# -- adapters ---------------------------------------------------------------------


def tuner_types() -> tuple[type, ...]:
    """Classes of layers with an adapter: the course's, and peft's where it is used.

    A model can only have peft's layers if peft has been imported.
    """
    if "peft" not in sys.modules:
        return (LoRALinear,)
    from peft.tuners.tuners_utils import BaseTunerLayer

    return (LoRALinear, BaseTunerLayer)


def tuners(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """(name, layer) of every layer with an adapter, wrappers inside others too."""
    kinds = tuner_types()
    return [
        (name, module)
        for name, module in net.named_modules()
        if isinstance(module, kinds)
    ]


def base_layer(module: nn.Module) -> nn.Module:
    """The layer under adapters; of a module that peft saves, the copy in use."""
    while True:
        copies = getattr(module, "modules_to_save", None)
        if isinstance(copies, nn.ModuleDict):
            active = [name for name in module.active_adapters if name in copies]
            inner = copies[active[0]] if active else module.original_module
        elif isinstance(module, LoRALinear):
            inner = module.base
        else:
            inner = getattr(module, "base_layer", None)
            inner = inner or getattr(module, "original_module", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


# -- batches ----------------------------------------------------------------------


def parts_of(batch) -> tuple[Any, torch.Tensor | None]:
    """(inputs, labels) of a batch: a tensor, a pair, or a mapping with "labels"."""
    if isinstance(batch, Mapping):
        inputs = {k: v for k, v in batch.items() if k != "labels"}
        return inputs, batch.get("labels")
    if isinstance(batch, (tuple, list)):
        if len(batch) != 2:
            raise CourseError(
                f"audit: a batch of {len(batch)} parts.\nExpected: inputs, a pair "
                '(inputs, labels), or a mapping with "labels".\n'
                "Do: give it as your loop gives it to the model."
            )
        return batch[0], torch.as_tensor(batch[1])
    return batch, None


def output_of(net, batch) -> torch.Tensor:
    """What the network makes of a batch; of a mapping it gets the labels too."""
    return forward(net, batch if isinstance(batch, Mapping) else parts_of(batch)[0])


def rows_of(batch) -> int:
    """How many examples a batch has."""
    inputs, _ = parts_of(batch)
    if isinstance(inputs, Mapping):
        inputs = next(v for v in inputs.values() if isinstance(v, torch.Tensor))
    return len(inputs)


def take(batch, rows):
    """Those rows of a batch, in the form in which it came."""
    rows = torch.as_tensor(rows)

    def some(value):
        return value[rows] if isinstance(value, torch.Tensor) else value

    if isinstance(batch, Mapping):
        return {k: some(v) for k, v in batch.items()}
    if isinstance(batch, (tuple, list)):
        return take(batch[0], rows), some(torch.as_tensor(batch[1]))
    return some(batch)


def loss_of(net, batch, loss: Callable | None = None) -> torch.Tensor | None:
    """The loss of a batch: by ``loss(net, batch)``, the model's own, or cross-entropy.

    None for a batch without labels and without a loss of its own.
    """
    if loss is not None:
        return loss(net, batch)
    inputs, labels = parts_of(batch)
    if labels is None:
        return None
    if isinstance(batch, Mapping):
        own = getattr(net(**batch), "loss", None)
        if isinstance(own, torch.Tensor):
            return own
    return nn.functional.cross_entropy(forward(net, inputs).float(), labels)


def some_names(names: Sequence[str] | Iterator[str], limit: int = 3) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    more = len(names) - limit
    shown = ", ".join(names[:limit])
    return f"{shown} and {more} more" if more > 0 else shown
