"""Running a network for a measurement, and leaving it as it was."""

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.models.features import device_of, to_device


@contextmanager
def untouched(net: nn.Module) -> Iterator[None]:
    """Whatever runs inside, afterwards the network is as it was before.

    Put back are buffers, gradients, modes, and the random generators of torch, NumPy
    and Python.  Weights are not: nothing inside may step an optimizer.  Existing
    gradients are set aside, so that those inside start from none.
    """
    modes = [(module, module.training) for module in net.modules()]
    buffers = [(b, b.detach().clone()) for b in net.buffers() if not b.is_meta]
    gradients = [(p, p.grad) for p in net.parameters()]
    devices = list(range(torch.cuda.device_count()))
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for parameter, _ in gradients:
            parameter.grad = None
        try:
            yield
        finally:
            for parameter, gradient in gradients:
                parameter.grad = gradient
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            for module, training in modes:
                module.training = training
            random.setstate(python)
            np.random.set_state(numpy)


def on_device(net: nn.Module, batch):
    """The batch where the network is; pairs and mappings keep their form."""
    device = device_of(net)
    if isinstance(batch, (tuple, list)):
        return to_device(batch[0], device), torch.as_tensor(batch[1]).to(device)
    return to_device(batch, device)


def refused(what: str, error: Exception) -> CourseError:
    """The error for a batch, loss or step that does not run."""
    reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
    return CourseError(
        f"audit: {what} does not run ({type(error).__name__}: {reason}).\n"
        "Expected: what your own loop gives to the network and does with it.\n"
        "Do: try it once outside the audit, on the same network and batch."
    )
