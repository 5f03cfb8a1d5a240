"""Mixed precision: forward in 16 bits, weights and updates in 32."""

from contextlib import nullcontext

import torch
from torch.nn.utils import clip_grad_norm_

from course_lib.errors import CourseError

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}
INSTRUCTIONS = ("avx512_bf16", "amx_bf16")  # products of bfloat16, of x86 processors


def multiplies_bfloat16(device: torch.device) -> bool:
    """Has the device instructions for products of bfloat16?

    Without them a CPU takes longer in bfloat16 than in float32.
    """
    if device.type != "cpu":
        return device.type == "cuda"
    known = torch.cpu.get_capabilities()
    return any(known.get(name) for name in INSTRUCTIONS)


class Precision:
    """The number format of the forward pass, and what backward and step need for it.

    ``autocast()`` is the context of the forward pass.  Gradients of float16 underflow,
    so that the loss is scaled up for them and the gradients down again; in other
    formats the scaler does nothing.  amp: as in training.Runtime.  Raises CourseError
    on an unknown one.  Micikevicius et al. 2018.
    """

    def __init__(self, amp: str | bool, device: torch.device):
        if amp not in ("auto", "native", True, False, *PRECISIONS):
            raise CourseError(
                f"amp={amp!r} is unknown, expected 'auto', 'native', True, False, "
                "'bf16' or 'fp16'.\nDo: leave it out, or pass one of them."
            )
        native = amp == "native" and multiplies_bfloat16(device)
        if amp is True or native or (amp == "auto" and device.type == "cuda"):
            amp = "bf16"
        self.device, self.dtype = device, PRECISIONS.get(amp)
        enabled = self.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=enabled)

    def autocast(self):
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients of the loss."""
        self.scaler.scale(loss).backward()

    def step(self, optimizer, network, clip_norm: float | None = None) -> None:
        """One update; the gradient is shortened to ``clip_norm`` before, if given."""
        if clip_norm is not None:
            self.scaler.unscale_(optimizer)
            clip_grad_norm_(network.parameters(), clip_norm)
        self.scaler.step(optimizer)
        self.scaler.update()
