"""One process or several: what a training loop has to know about its siblings.

Started by hand, a program is alone.  Started by `accelerate launch`, it runs once on
each device, and every process takes its rows of the same batch; the gradients are
averaged by torch's DistributedDataParallel (or by FSDP, if accelerate's configuration
says so).  All processes draw the same order and the same augmentation from the same
seed, so that the updates are those of one process with the whole batch, up to rounding.
Two things do not follow that rule: dropout (each process draws its own), and BatchNorm
layers in train mode (each process normalises by its own part of the batch).  Li et al.
2020 (PyTorch Distributed); lesson 13.
"""

from __future__ import annotations

import os
from functools import lru_cache

import torch

__all__ = ["Alone", "Together", "current"]


class Alone:
    """The only process there is: everything is its own."""

    rank, size = 0, 1

    def wrapped(self, net):
        """The network as the loop calls it."""
        return net

    def share(self, rows):
        """(this process's rows of a batch, their weight in its mean)."""
        return rows, 1.0

    def total(self, *numbers: float) -> tuple[float, ...]:
        """Sums over all processes."""
        return numbers

    def every(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of each process, stacked by rank."""
        return tensor[None]

    def wait(self) -> None:
        """Until every process has come here."""


class Together(Alone):
    """One of several processes that `accelerate launch` started."""

    def __init__(self):
        from accelerate import Accelerator

        self.accelerator = Accelerator()
        self.rank = self.accelerator.process_index
        self.size = self.accelerator.num_processes
        self.device = self.accelerator.device

    def wrapped(self, net):
        if not any(p.requires_grad for p in net.parameters()):
            return net
        return self.accelerator.prepare_model(net)

    def share(self, rows):
        own = rows[self.rank :: self.size]
        if not len(own):  # fewer rows than processes: one runs along and counts nothing
            return rows[:1], 0.0
        return own, len(own) * self.size / len(rows)

    def total(self, *numbers):
        values = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        return tuple(self.accelerator.reduce(values, "sum").tolist())

    def every(self, tensor):
        device = tensor.device
        return self.accelerator.gather(tensor[None].to(self.device)).to(device)

    def wait(self):
        self.accelerator.wait_for_everyone()


@lru_cache(maxsize=1)
def current() -> Alone:
    """This process and its siblings, by the environment that a launcher sets."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return Together()
    return Alone()
