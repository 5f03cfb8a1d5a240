"""What training takes: seconds, and the exact bytes of a step.

A memory figure without its parts explains nothing.
"""

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from course_lib import training
from course_lib.models.features import forward, network
from course_lib.training.freezing import train_mode

# -- seconds ----------------------------------------------------------------------


def seconds(function: Callable[[], Any], repeats: int = 3) -> float:
    """Median wall-clock seconds of ``function()`` over ``repeats`` calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


# -- exact bytes ------------------------------------------------------------------


def tensor_bytes(model, optimizer=None) -> dict[str, int]:
    """Bytes of {parameters, buffers, gradients, optimizer} as they are now.

    Gradients count once they exist (after backward), optimizer state once a step was
    made.
    """
    net = network(model)
    parameters = list(net.parameters())
    state = optimizer.state.values() if optimizer is not None else []
    tensors = [v for entry in state for v in entry.values() if hasattr(v, "nbytes")]
    return {
        "parameters": sum(p.nbytes for p in parameters),
        "buffers": sum(b.nbytes for b in net.buffers()),
        "gradients": sum(p.grad.nbytes for p in parameters if p.grad is not None),
        "optimizer": sum(t.nbytes for t in tensors),
    }


def saved_activation_bytes(model, x) -> int:
    """Bytes that a forward pass in train mode keeps for the backward pass.

    Every tensor that autograd saves, counted once by its storage; parameters and
    buffers are not counted, they exist anyway.  Zero behind a fully frozen network.
    BatchNorm statistics of ``model`` are left as they were.
    """
    return _forward_bytes(copy.deepcopy(network(model)), x)[1]


def _forward_bytes(net, x):
    """(output, bytes saved for backward) of one forward pass in train mode."""
    own = {t.untyped_storage().data_ptr() for t in [*net.parameters(), *net.buffers()]}
    saved: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # with its history it would hold itself, for ever

    train_mode(net)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward(net, x)
    return output, sum(saved.values())


def training_step_bytes(model, x, y, optimizer: str = "adamw") -> dict[str, int]:
    """Exact bytes of one training step, by what they are for; the model is not changed.

    x: preprocessed batch, y: labels (N,).  Runs forward, backward and one update on a
    copy.  Returns {parameters, buffers, gradients, optimizer, activations, total}.
    Frozen parameters have neither gradients nor optimizer state, and a network that
    is frozen up to its head saves next to no activations.
    """
    net = copy.deepcopy(network(model))
    net.zero_grad(set_to_none=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        output, activations = _forward_bytes(net, x)
    updater = training.make_optimizer(net, optimizer)
    torch.nn.functional.cross_entropy(output, y).backward()
    updater.step()
    parts = tensor_bytes(net, updater) | {"activations": activations}
    return parts | {"total": sum(parts.values())}
