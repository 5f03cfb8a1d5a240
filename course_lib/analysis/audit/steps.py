"""One training step, measured and undone: loss, gradients, and their accumulation."""

import math
import re
from collections.abc import Iterator

import torch
from torch import nn

from course_lib.analysis.audit.findings import Finding, Unseen, unseen
from course_lib.analysis.audit.history import logged
from course_lib.analysis.audit.running import on_device, refused, untouched
from course_lib.analysis.audit.setup import (
    Setup,
    loss_of,
    parts_of,
    rows_of,
    some_names,
    take,
)
from course_lib.analysis.audit.token_labels import IGNORED, has_token_labels
from course_lib.errors import CourseError

NO_PATH = "does not require grad"  # torch's words when nothing reaches a parameter
ROUNDS = 4  # steps until factors that start at zero have let gradients through
TOLERANCE, TOLERANCE_16 = 0.01, 0.05  # relative, of gradients in 32 and in 16 bits
MEASURED = ("lost-gradient", "accumulated-loss", "nan-loss")


def look(setup: Setup) -> Iterator[Finding | Unseen]:
    """Findings about a step on the batch, and about weights that are no numbers."""
    yield from _weight_findings(setup.net)
    own = setup.run.history is not None  # which shows NaN losses without a batch
    if setup.batch is None:
        yield from unseen("batch", *MEASURED[: 3 - own])
        return
    if setup.loop.loss is None and parts_of(setup.batch)[1] is None:
        yield from unseen("labels or loss", *MEASURED[: 3 - own])
        return
    if not setup.run.training:
        yield from unseen("training=True", *MEASURED[:2])
    elif setup.loop.accumulate is None:
        yield Unseen("accumulated-loss", "accumulate")
    batch = on_device(setup.net, setup.batch)
    value, reached = step(setup.net, batch, setup.loop.loss)
    yield from _loss_findings(value, setup.run.history)
    if not math.isfinite(value):
        return  # gradients of NaN say nothing
    if setup.run.training and any(p.requires_grad for p in setup.net.parameters()):
        yield from _gradient_findings(setup, reached)
        if setup.loop.accumulate is not None:
            yield from _accumulation_findings(setup, batch)


# -- the step ---------------------------------------------------------------------


def step(net: nn.Module, batch, loss=None) -> tuple[float, dict[str, bool]]:
    """(loss, {parameter that learns: does a gradient other than zero reach it?}).

    Forward and backward pass in train mode: the modes of the moment if the network is
    in it, else all of it.  Behind a factor that starts at zero (LoRA's B, the last norm
    of a residual branch) gradients are zero until it has moved: such factors move a
    little, and the step is made again, so that only what stays without one counts.
    Everything is put back afterwards.  Raises CourseError when the step does not run.
    """
    learning = {n: p for n, p in net.named_parameters() if p.requires_grad}
    reached, moved = dict.fromkeys(learning, False), []
    first = None
    with untouched(net):
        if not net.training:
            net.train()
        try:
            for _ in range(ROUNDS):
                value = _passes(net, batch, loss)
                first = value if first is None else first
                for name, p in learning.items():
                    reached[name] |= p.grad is not None and bool(p.grad.any())
                fresh = [p for n, p in learning.items() if reached[n] and not p.any()]
                if all(reached.values()) or not fresh or not math.isfinite(value):
                    break
                moved += fresh
                with torch.no_grad():
                    for p in fresh:
                        p.add_(p.grad, alpha=-0.01 / float(p.grad.abs().max()))
        finally:
            with torch.no_grad():
                for p in moved:
                    p.zero_()
    return first, reached


def _passes(net, batch, loss) -> float:
    """The loss of one forward and backward pass, gradients from none."""
    value = None
    for p in net.parameters():
        p.grad = None
    try:
        value = loss_of(net, batch, loss)
        if value.requires_grad:
            value.backward()
    except CourseError:
        raise
    except Exception as error:  # what a network raises on foreign inputs
        if value is None or NO_PATH not in str(error):
            raise refused("a step on the batch", error) from error
    return float(value.detach())


def _loss_findings(value, history):
    if math.isfinite(value):
        return
    zero = ""
    if history is not None:
        series = logged(history)
        last = (series.get("train_loss") or series.get("loss") or [math.nan])[-1]
        if last == 0:
            zero = ", and the history logs it as 0"
    yield Finding(
        "nan-loss",
        "the batch",
        f"its loss is {value}{zero}.",
        "look for rows without labels, infinite inputs, float16 overflow; never "
        "nan_to_num a loss.",
    )


def _weight_findings(net):
    for name, parameter in net.named_parameters():
        if not parameter.is_floating_point() or parameter.is_meta:
            continue
        value = parameter.detach()  # a sum is quicker, and may overflow
        if not value.sum().isfinite() and not value.isfinite().all():
            yield Finding(
                "nan-loss",
                name,
                "it holds NaN or infinite numbers: every loss behind it is NaN.",
                "go back to weights from before, lower the rate, clip gradients.",
            )
            return


def _gradient_findings(setup, reached):
    """Layers none of whose parameters got a gradient.

    A layer with an adapter counts as a whole; of experts a batch need not use each; and
    encoders of transformers compute a pooled vector beside the others, which a loss may
    leave alone.
    """
    tuners = [name for name, _ in setup.tuners]
    layers: dict[str, bool] = {}
    for name, got in reached.items():
        around = [place for place in tuners if name.startswith(place + ".")]
        layer = max(around, key=len) if around else name.rpartition(".")[0]
        if "pooler" in name.split(".") and layer not in tuners:
            continue
        layers[layer] = layers.get(layer, False) or got
    expert = re.compile(r"(experts?)\.\d+")
    used = {expert.sub(r"\1", layer) for layer, got in layers.items() if got}
    lost = [
        n for n, got in layers.items() if not got and expert.sub(r"\1", n) not in used
    ]
    if not lost:
        return
    hint = "a detach(), no_grad or a branch that is not used"
    if any(getattr(m, "gradient_checkpointing", False) for m in setup.net.modules()):
        hint = (
            "model.enable_input_require_grads() (checkpointing of frozen inputs "
            "stops gradients), or use_reentrant=False"
        )
    yield Finding(
        "lost-gradient",
        some_names(lost),
        f"{len(lost)} of {len(layers)} layers that learn get no gradient in a step.",
        f"look for {hint}." if "detach" in hint else f"{hint}.",
    )


# -- accumulation -----------------------------------------------------------------


def micro_batches(batch, number: int = 2) -> list:
    """The batch in parts of equal rows whose numbers of labels differ most."""
    rows = rows_of(batch) // number * number
    order = torch.arange(rows)
    if has_token_labels(batch):
        counted = (batch["labels"][:rows, 1:] != IGNORED).sum(1)
        order = torch.argsort(counted, stable=True).cpu()
    return [take(batch, part) for part in order.chunk(number)]


def _gradients(net, run) -> list[torch.Tensor]:
    """Gradients of all that learns after ``run()``, as float32 copies, no dropout."""
    with untouched(net):
        net.eval()
        run()
        return [
            (torch.zeros_like(p) if p.grad is None else p.grad.detach().clone()).float()
            for p in net.parameters()
            if p.requires_grad
        ]


def _accumulation_findings(setup, batch):
    net = setup.net
    if rows_of(batch) < 2:
        return
    parts = micro_batches(batch)
    whole = take(batch, torch.arange(sum(map(rows_of, parts))))

    def at_once():
        loss_of(net, whole, setup.loop.loss).backward()

    try:
        right = _gradients(net, at_once)
        given = _gradients(net, lambda: setup.loop.accumulate(net, parts))
    except Exception as error:
        raise refused("accumulate on two micro-batches", error) from error
    size = math.sqrt(sum(float((g * g).sum()) for g in right))
    off = math.sqrt(sum(float(((a - b) ** 2).sum()) for a, b in zip(given, right)))
    halves = any(p.dtype != torch.float32 for p in net.parameters() if p.requires_grad)
    if size == 0 or off <= (TOLERANCE_16 if halves else TOLERANCE) * size:
        return
    dot = sum(float((a * b).sum()) for a, b in zip(given, right))
    factor = dot / size**2
    rest = math.sqrt(max(off**2 - (factor - 1) ** 2 * size**2, 0)) / size
    said = f"{factor:.3g} times as long"
    if rest > 0.01:
        said += f", and turned: {rest:.0%} of it points elsewhere"
    yield Finding(
        "accumulated-loss",
        f"{len(parts)} micro-batches of {rows_of(parts[0])} rows",
        f"their gradient is {said} as that of the whole batch.",
        "sum the losses of all tokens (or rows) and divide by the number of all of "
        "them, not by micro-batch.",
    )
