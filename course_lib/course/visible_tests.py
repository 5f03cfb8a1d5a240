"""What several visible tests of the exercises do: one update, and what it changes.

A visible test shows learners which misconception a wrong answer has.  Points are given
by other checks, with other inputs.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot"}


def moved_by_training(model: nn.Module, X: torch.Tensor) -> set[str]:
    """Names of the parameters and buffers that one update on ``X`` changes.

    In the mode in which the model is, with every parameter that requires a gradient;
    weight decay moves those, too, whose gradient is zero.
    """
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    learns = [p for p in model.parameters() if p.requires_grad]
    loss = model(X).square().mean()
    gradients = torch.autograd.grad(loss, learns, allow_unused=True) if learns else ()
    with torch.no_grad():
        for p, gradient in zip(learns, gradients):
            p -= 0.1 * (p + 1 + (0 if gradient is None else gradient))
    now = model.state_dict().items()
    return {name for name, tensor in now if not torch.equal(tensor, before[name])}


def error_of(call: Callable[[], object]) -> str:
    """What a ValueError of the call says; empty when it raises none."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


def several(found: object, count: int, what: str) -> Sequence:
    """The answer, when it is a tuple or a list of ``count`` things.

    Raises AssertionError, which a visible test shows as its hint, for anything else.
    """
    is_so = isinstance(found, (tuple, list)) and len(found) == count
    assert is_so, f"return {what}, not {str(found):.60}"
    return found


def products(
    call: Callable[[], object], **named: torch.Tensor
) -> list[tuple[set[str], int]]:
    """Each matrix product of the call: the named tensors in it, numbers in the result.

    A view of a tensor, such as its transpose or one of its rows, counts as the tensor.
    """
    found = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            result = operation(*args, **(kwargs or {}))
            if operation.overloadpacket.__name__ in PRODUCTS:
                places = {x.data_ptr() for x in map(_storage, args) if x is not None}
                names = {
                    n for n, t in named.items() if _storage(t).data_ptr() in places
                }
                found.append((names, result.numel()))
            return result

    with Watch():
        call()
    return found


def _storage(x: object) -> torch.UntypedStorage | None:
    return x.untyped_storage() if isinstance(x, torch.Tensor) else None
