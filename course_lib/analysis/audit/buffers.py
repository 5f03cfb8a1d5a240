"""Running statistics and other buffers: frozen weights do not hold them still."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from course_lib.analysis.audit.findings import Finding, Unseen, unseen
from course_lib.analysis.audit.running import on_device, refused, untouched
from course_lib.analysis.audit.setup import Setup, output_of, some_names
from course_lib.training.freezing import frozen_in_train_mode


def look(setup: Setup) -> Iterator[Finding | Unseen]:
    """Findings about BatchNorm and, measured by one forward pass, other buffers."""
    if not setup.run.training:
        names = ("frozen-batchnorm", "tiny-batch", "moving-buffer")
        yield from unseen("training=True", *names)
        return
    yield from _batchnorm_findings(
        setup.net, setup.batch_size, setup.loop.smallest_batch
    )
    if setup.batch_size is None:
        yield Unseen("tiny-batch", "batch_size")
    if setup.batch is None:
        yield Unseen("moving-buffer", "batch")
    else:
        yield from _moving_findings(setup.net, setup.batch)


def _batchnorm_findings(net, batch_size, smallest):
    for name in frozen_in_train_mode(net):
        yield Finding(
            "frozen-batchnorm",
            name,
            "its weights are frozen, its running mean and variance are not.",
            "freezing.train_mode(model) or freezing.freeze_batchnorm(model).",
        )
    if batch_size is None or batch_size >= smallest:
        return
    for name, layer in net.named_modules():
        learns = any(p.requires_grad for p in layer.parameters(recurse=False))
        if isinstance(layer, _BatchNorm) and learns:
            yield Finding(
                "tiny-batch",
                name,
                f"it normalises by the statistics of {batch_size} pictures.",
                f"batches of {smallest} or more, or keep BatchNorm frozen.",
            )
            return  # one is enough: all layers see the same batch


def moved_buffers(net: nn.Module, batch) -> dict[str, list[str]]:
    """{module: its buffers that one forward pass in the present modes changes}."""
    batch = on_device(net, batch)
    before = {name: b.detach().clone() for name, b in net.named_buffers()}
    moved: dict[str, list[str]] = {}
    with untouched(net):
        try:
            with torch.no_grad():
                output_of(net, batch)
        except Exception as error:  # what a network raises on foreign inputs
            raise refused("a forward pass on the batch", error) from error
        for name, buffer in net.named_buffers():
            old = before.get(name)
            same = old is not None and old.shape == buffer.shape
            if not same or not torch.equal(old, buffer):
                module, _, own = name.rpartition(".")
                moved.setdefault(module, []).append(own)
    return moved


def _moving_findings(net, batch):
    known = set(frozen_in_train_mode(net))  # told already, layer by layer
    frozen = {
        name: buffers
        for name, buffers in moved_buffers(net, batch).items()
        if name not in known and _is_frozen(net, name)
    }
    if frozen:
        first = next(iter(frozen))
        yield Finding(
            "moving-buffer",
            some_names(frozen),
            f"no weight there learns, yet a forward pass moves "
            f"{', '.join(frozen[first])}: the frozen features drift.",
            f"network.{first}.eval() after every train(), or freezing.train_mode.",
        )


def _is_frozen(net: nn.Module, name: str) -> bool:
    """Does nothing learn in the nearest module around it that has weights at all?"""
    parts = name.split(".") if name else []
    for length in range(len(parts), -1, -1):
        around = net.get_submodule(".".join(parts[:length]))
        learns = [p.requires_grad for p in around.parameters()]
        if learns:
            return not any(learns)
    return False
