"""What a live model stores, counted storage by storage."""

import torch

from course_lib.memory.planning import STORED
from course_lib.models.features import network


def measured(model, optimizer=None) -> dict[str, int]:
    """Bytes that a model and its optimizer hold now, by the keys of STORED.

    Every storage counts once.  Parameters of bitsandbytes with all tensors of their
    quant_state; layers that keep integers in buffers (as models.quantization): the
    largest buffer is the weight, the others its constants.  Where some parameters are
    frozen, those that learn are the adapters.  Gradients count after backward, states
    after a step (`usage.tensor_bytes`).
    """
    net, seen = network(model), set()
    parts = dict.fromkeys(STORED, 0)

    def count(part, *tensors):
        for tensor in tensors:
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                parts[part] += storage.nbytes()

    parameters = list(net.parameters())
    frozen = any(not p.requires_grad for p in parameters)
    for p in parameters:
        state = getattr(p, "quant_state", None)
        if state is not None:
            second = getattr(state, "state2", None)
            count("quantised", p.data)
            count("constants", state.absmax, state.code, state.offset)
            count("constants", *((second.absmax, second.code) if second else ()))
        else:
            count("adapters" if frozen and p.requires_grad else "weights", p.data)
        count("gradients", p.grad)
    for module in net.modules():
        buffers = sorted(module.buffers(recurse=False), key=lambda t: -t.nbytes)
        if any(t.dtype in (torch.uint8, torch.int8) for t in buffers):
            count("quantised", buffers.pop(0))
            count("constants", *buffers)
        count("weights", *buffers)
    for state in optimizer.state.values() if optimizer is not None else ():
        count("optimizer", *state.values())
    return parts
