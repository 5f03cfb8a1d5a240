"""Fine-tuning in which the frozen lower stages run once, and the rest on their output.

    frozen = FrozenStages(backbone, "stage5", train.images)
    training.fit(frozen.upper, frozen.run(train, MIRRORED), frozen.run(validation))

Freezing the lower layers (Yosinski et al. 2014) makes their output a constant of each
picture, so it is computed once, in half precision, for the picture and for a few
altered copies of it, and not in every epoch; frozen BatchNorm is folded into the
convolutions for it (Jacob et al. 2018).  `upper` is what lies behind: it shares
its layers with the backbone, which is trained in place.
"""

import copy
import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from course_lib.errors import CourseError
from course_lib.models import features
from course_lib.training import freezing, small_maps
from course_lib.training.precision import Precision

MEMORY = 1 << 30  # bytes of stored output; more goes to a file
TOLERANCE = 1e-3  # of the largest logit, between the two ways through the network


def same(x: torch.Tensor) -> torch.Tensor:
    """Pictures (N, C, H, W) as they are."""
    return x


def mirrored(x: torch.Tensor) -> torch.Tensor:
    """Pictures (N, C, H, W), left and right exchanged."""
    return x.flip(3)


AS_THEY_ARE = (same,)
MIRRORED = (same, mirrored)


class _Reached(Exception):
    """The stage has run: nothing behind it is wanted."""


class _Handed(nn.Module):
    """In place of the stage: gives the batch that it was handed, whatever comes in."""

    batch: torch.Tensor

    def forward(self, *_):
        return self.batch


class _Recalled(nn.Module):
    """In place of a layer below the stage: what that gave for one picture."""

    def __init__(self, output: torch.Tensor):
        super().__init__()
        self.register_buffer("output", output.clone(), persistent=False)

    def forward(self, *_):
        return self.output.clone()  # the network may go on in place


class _Upper(nn.Module):
    """The network behind a stage, of the stage's output in any floating-point type."""

    def __init__(self, net: nn.Module, handed: _Handed, example: torch.Tensor):
        super().__init__()
        self.net, self.handed = net, handed
        self.register_buffer("example", example, persistent=False)

    def forward(self, stored: torch.Tensor) -> torch.Tensor:
        stored = stored.to(self.example.dtype)
        if stored.ndim == 4:
            stored = stored.contiguous(memory_format=torch.channels_last)
        self.handed.batch = stored
        try:
            return self.net(self.example)
        finally:
            del self.handed.batch


@contextmanager
def _full_precision():
    """Products of float32 in float32, whatever the caller has set for speed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class FrozenStages:
    """A backbone for pictures, frozen up to and including ``stage``.

    stage: a stage or a dotted module name.  images: a few uint8 pictures (N, H, W, 3)
    of the size to be trained on.  `run` gives the stage's output, `upper` is the
    network behind it, ready for `training.fit`; on a GPU, move ``backbone.model``
    there first.  Raises CourseError for texts, an unknown stage, a network that runs in
    another order than it is registered in, and one that passes more to its upper part
    than the stage's output (a skip connection).  Yosinski et al. 2014.
    """

    def __init__(self, backbone, stage: str, images):
        if getattr(backbone, "kind", "vision") != "vision":
            raise CourseError(
                f"FrozenStages: {backbone.name} reads texts.\nExpected: a backbone for "
                "pictures.\nDo: train a text encoder with training.fit."
            )
        self.backbone, self.stage = backbone, stage
        self.place = features.resolve(backbone, stage)
        freezing.freeze_until(backbone, stage)
        x = self._input(images[:2])
        with _full_precision():
            calls, outputs, whole = self._traced(x, {self.place})
            self._check_once(calls, outputs)
            self._check_order(calls)
            self.shape = tuple(outputs[self.place].shape[1:])  # of one picture
            self.upper = self._behind(calls, x[:1])
            complete = self._gives(outputs[self.place], whole)
        if not complete:
            raise CourseError(
                f"Behind {stage} the network reads more than the stage's output, as a "
                "skip connection does.\nExpected: all that goes on passes through the "
                "stage.\nDo: name a stage where the paths have joined, or train with "
                "freezing.freeze_until and training.fit."
            )

    def run(
        self,
        data,
        views: Sequence[Callable] = AS_THEY_ARE,
        *,
        dtype: torch.dtype = torch.float16,
        memory: int = MEMORY,
        batch_size: int = 8,
        amp: str | bool = False,
        watched: Callable = nullcontext,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The stage's output for every picture in every view, and the labels.

        data: an ImageDataset, or (images, labels).  views: functions of a preprocessed
        batch; the outputs (V N, ...) are all pictures in the first view, then all in
        the second.  Up to ``memory`` bytes they are held in memory, beyond that in a
        file that vanishes with them.  amp: as in training.Runtime; "native" runs the
        stages in bfloat16 where the processor multiplies it, which saves a third of
        the time with batches of 16 and nothing with 8.  watched: f(lower part), a
        context in which it runs: batch after batch, each in all views.  Raises
        CourseError when the disk has no room, and for numbers that ``dtype`` cannot
        hold.
        """
        images, labels = data if isinstance(data, tuple) else (data.images, data.labels)
        n = len(images)
        outputs = self._room((n * len(views), *self.shape), dtype, memory)
        net = features.network(self.backbone)
        with torch.no_grad(), features.eval_mode(net):
            x = self._input(images[:2])
            lower = self._folded(x)
            with watched(lower), Precision(amp, x.device).autocast():
                for start in range(0, n, batch_size):
                    x = self._input(images[start : start + batch_size])
                    for v, view in enumerate(views):
                        stored = self._until(view(x), lower)
                        outputs[v * n + start : v * n + start + len(x)] = stored
        if not all(part.isfinite().all() for part in outputs.split(batch_size)):
            raise CourseError(
                f"The output of {self.stage} has numbers that {dtype} cannot hold.\n"
                "Expected: all finite.\nDo: run(..., dtype=torch.float32)."
            )
        return outputs, torch.as_tensor(labels).repeat(len(views))

    # -- the lower part

    def _input(self, images) -> torch.Tensor:
        device = next(features.network(self.backbone).parameters()).device
        x = features.to_device(self.backbone.preprocess(images), device)
        return x.contiguous(memory_format=torch.channels_last)

    def _until(self, x: torch.Tensor, net: nn.Module) -> torch.Tensor:
        """The stage's output, of the network or a shell; nothing behind it runs."""
        reached = []

        def stop(_, __, output):
            reached.append(output)
            raise _Reached

        hook = net.get_submodule(self.place).register_forward_hook(stop)
        with hook, suppress(_Reached):
            net(x)
        return reached[0]

    def _folded(self, x: torch.Tensor) -> nn.Module:
        """The network with frozen BatchNorm in the convolutions before it.

        Below the stage both are constants, and so one convolution.  The network itself
        comes back where that would give something else, as when a convolution's output
        is read a second time.
        """
        net = features.network(self.backbone)
        shell = _shell(net)
        with _full_precision():
            pairs, expected = self._normalised(x, net)
            for conv, norm in pairs:
                layer = net.get_submodule(norm)
                fused = fuse_conv_bn_eval(net.get_submodule(conv), layer)
                shell.set_submodule(conv, fused.to(memory_format=torch.channels_last))
                rest = [getattr(layer, name, None) for name in ("drop", "act")]  # timm
                shell.set_submodule(norm, nn.Sequential(*filter(None, rest)))
            found = self._until(x, shell)
        atol = TOLERANCE * float(expected.abs().max())
        return shell if torch.allclose(found, expected, rtol=0, atol=atol) else net

    def _normalised(self, x: torch.Tensor, net: nn.Module):
        """[(convolution, its BatchNorm)] below the stage, and the stage's output."""
        last, pairs = [None, None], []

        def convolved(name, _, __, output):
            last[:] = name, output

        def normalises(name, module, inputs):
            if inputs[0] is last[1] and module.running_mean is not None:
                pairs.append((last[0], name))

        with ExitStack() as hooks:
            for name, module in net.named_modules():
                if type(module) is nn.Conv2d:
                    hook = module.register_forward_hook(partial(convolved, name))
                    hooks.enter_context(hook)
                elif isinstance(module, nn.BatchNorm2d):
                    hook = module.register_forward_pre_hook(partial(normalises, name))
                    hooks.enter_context(hook)
            return pairs, self._until(x, net)

    @staticmethod
    def _room(shape, dtype, memory: int) -> torch.Tensor:
        """An empty tensor, in memory or in a file."""
        needed = math.prod(shape) * torch.empty((), dtype=dtype).element_size()
        if needed <= memory:
            return torch.empty(shape, dtype=dtype)
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if needed > free:
            raise CourseError(
                f"The stored output takes {needed / 1e6:,.0f} MB: more than the "
                f"{memory / 1e6:,.0f} MB of memory that it may have, and only "
                f"{free / 1e6:,.0f} MB are free in {tempfile.gettempdir()}.\n"
                "Expected: room for it in memory or in a file.\nDo: "
                "a deeper stage (its output is smaller), fewer views, or memory=..."
            )
        file = tempfile.TemporaryFile()  # noqa: SIM115, the map holds it
        raw = np.memmap(file, dtype=np.uint8, mode="w+", shape=(needed,))
        return torch.from_numpy(raw).view(dtype).view(shape)

    # -- the upper part

    @torch.no_grad()
    def _gives(self, stored: torch.Tensor, logits: torch.Tensor) -> bool:
        """Does the upper part answer as the whole network did?"""
        try:
            with features.eval_mode(self.upper):
                found = self.upper(stored)
        except RuntimeError:  # one picture's map met a batch
            return False
        atol = TOLERANCE * float(logits.abs().max())
        return found.shape == logits.shape and torch.allclose(found, logits, atol=atol)

    def _traced(self, x: torch.Tensor, wanted: set[str]):
        """[(name, begins)] of all calls, in order; outputs wanted; the logits."""
        net, calls, outputs = features.network(self.backbone), [], {}

        def begins(name, *_):
            calls.append((name, True))

        def ends(name, _, __, output):
            calls.append((name, False))
            if name in wanted and isinstance(output, torch.Tensor):
                outputs[name] = output.clone()

        with ExitStack() as hooks, torch.no_grad(), features.eval_mode(net):
            for name, module in net.named_modules():
                before = module.register_forward_pre_hook(partial(begins, name))
                hooks.enter_context(before)
                behind = module.register_forward_hook(partial(ends, name))
                hooks.enter_context(behind)
            return calls, outputs, net(x)

    def _split(self, calls) -> tuple[set[str], set[str]]:
        """Names of the modules that have run when the stage ends, and of the others."""
        cut = calls.index((self.place, False)) + 1
        below = {name for name, begins in calls[:cut] if not begins}
        above = {name for name, begins in calls[cut:] if begins}
        return below, above

    def _check_once(self, calls, outputs) -> None:
        """CourseError where the stage has no output, or more than one."""
        if calls.count((self.place, False)) != 1 or self.place not in outputs:
            raise CourseError(
                f"{self.stage} does not run once and give one tensor.\nExpected: a "
                "stage that the network goes through once.\nDo: name another: "
                f"{', '.join(getattr(self.backbone, 'stages', {}))}."
            )

    def _check_order(self, calls) -> None:
        """CourseError where frozen and learning layers lie on the wrong sides."""
        net = features.network(self.backbone)
        for names, learns in zip(self._split(calls), (True, False)):
            for name in sorted(names):
                own = net.get_submodule(name).parameters(recurse=False)
                if any(p.requires_grad == learns for p in own):
                    raise CourseError(
                        f"{name} runs {'before' if learns else 'behind'} {self.stage}, "
                        "but is registered on its other side.\nExpected: modules in "
                        "the order in which they run.\nDo: name a stage that all "
                        "frozen layers come before, or register them in that order."
                    )

    def _behind(self, calls, example: torch.Tensor) -> _Upper:
        """The network with constants in place of all that ran before the stage."""
        below, above = self._split(calls)
        once = {name for name in below - above if calls.count((name, False)) == 1}
        around = [self.place[:i] for i, c in enumerate(self.place) if c == "."]
        outermost = {n for n in once if n.rpartition(".")[0] in ("", *around)}
        _, outputs, _ = self._traced(example, outermost - {self.place})
        net = _shell(features.network(self.backbone))
        handed = _Handed()
        net.set_submodule(self.place, handed)
        for name, output in outputs.items():
            net.set_submodule(name, _Recalled(output))
        small_maps.as_matrices(net)
        return _Upper(net, handed, example)


def _shell(module: nn.Module) -> nn.Module:
    """A copy whose children can be exchanged; parameters and buffers are the same."""
    shell = copy.copy(module)
    shell._modules = {
        name: child and _shell(child) for name, child in module._modules.items()
    }
    return shell
