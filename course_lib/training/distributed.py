"""One process or several: what a training loop has to know about its siblings.

Started by hand, a program is alone.  Started by `accelerate launch`, it runs once on
each device, and every process takes its rows of the same batch.  The gradients are
averaged by torch's DistributedDataParallel; or, where accelerate's configuration says
FSDP, weights, gradients and optimizer state are spread over the devices as well, block
by block (fully_shard).  All processes draw the same order and the same augmentation
from the same seed, so that the updates are those of one process with the whole batch,
up to rounding.  Two things do not follow that rule: dropout (each process draws its
own), and BatchNorm layers in train mode (each process normalises by its own part of the
batch).  Li et al. 2020 (DDP), Zhao et al. 2023 (FSDP).
"""

import copy
import os
from functools import lru_cache

import torch

from course_lib.errors import CourseError
from course_lib.training import layer_groups


class Alone:
    """The only process there is: everything is its own."""

    rank, size = 0, 1
    device = None  # any
    shares_evaluation = True  # may processes score different examples?

    def begin(self) -> None:
        """A new run begins."""

    def wrapped(self, net, optimizer):
        """The network as the loop calls it; asked again when other parts learn."""
        return net

    def inner(self, net):
        """The network that holds the weights, gradients and modes of the run."""
        return net

    def weights(self, net) -> dict[str, torch.Tensor]:
        """The present weights, whole."""
        return net.state_dict()

    def whole(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the run, whole."""
        return tensor

    def share(self, rows):
        """(this process's rows of a batch, their weight in its mean)."""
        return rows, 1.0

    def weighted(self, loss: torch.Tensor, weight: float) -> torch.Tensor:
        """The loss of this process's rows, such that its mean is that of the batch."""
        return loss

    def mean(self, loss: torch.Tensor) -> torch.Tensor:
        """The mean of a weighted loss over all processes."""
        return loss

    def total(self, *numbers: float) -> tuple[float, ...]:
        """Sums over all processes."""
        return numbers

    def every(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of each process, stacked by rank."""
        return tensor[None]

    def wait(self) -> None:
        """Until every process has come here."""


ALONE = Alone()


class Together(Alone):
    """One of several processes that `accelerate launch` started."""

    def __init__(self):
        from accelerate import Accelerator, DistributedType

        self.accelerator = Accelerator()
        kind = self.accelerator.distributed_type
        known = (DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)
        if kind not in (*known, DistributedType.FSDP):
            raise CourseError(
                f"accelerate's configuration asks for {kind.value}.\nExpected: several "
                "GPUs or CPUs, with DistributedDataParallel or FSDP.\n"
                "Do: accelerate launch --multi_gpu, or --use_fsdp for large models."
            )
        self.rank = self.accelerator.process_index
        self.size = self.accelerator.num_processes
        self.device = self.accelerator.device

    def wrapped(self, net, optimizer):
        if not any(p.requires_grad for p in net.parameters()):
            return net
        return self.accelerator.prepare_model(net)

    def share(self, rows):
        own = rows[self.rank :: self.size]
        if not len(own):  # fewer rows than processes: one runs along and counts nothing
            return rows[:1], 0.0
        return own, len(own) * self.size / len(rows)

    def weighted(self, loss, weight):
        return loss * weight

    def mean(self, loss):
        return torch.tensor(self.total(float(loss.detach()) / self.size)[0])

    def total(self, *numbers):
        values = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        return tuple(self.accelerator.reduce(values, "sum").tolist())

    def every(self, tensor):
        device = tensor.device
        return self.accelerator.gather(tensor[None].to(self.device)).to(device)

    def wait(self):
        self.accelerator.wait_for_everyone()


class Sharded(Together):
    """One of several processes that hold a part of every block each (FSDP).

    What learns is a copy, cut up; the network itself stays whole and gets its weights
    at the end.  Parts that are unfrozen later need a new cut, with the optimizer's
    state carried over.
    """

    shares_evaluation = False  # every forward pass gathers weights from all

    def begin(self):
        self.copy = None

    def wrapped(self, net, optimizer):
        if self.copy is not None:
            net.load_state_dict(self.weights(net))
            self._move(optimizer, self.copy, net, self.whole)
        self.copy = self._cut(net)
        self._move(optimizer, net, self.copy, None)
        return self.copy

    def inner(self, net):
        return net if self.copy is None else self.copy

    def weights(self, net):
        state = self.inner(net).state_dict()
        return {name: self.whole(tensor) for name, tensor in state.items()}

    def whole(self, tensor):
        return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor

    def _cut(self, net):
        """A copy of the network, spread over the processes block by block."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self.device.type, (self.size,))
        cut = copy.deepcopy(net)
        for parameter in cut.parameters():
            parameter.data = parameter.data.contiguous()
            parameter.grad = None
        modules = dict(cut.named_modules())
        for name in layer_groups.layer_groups(net):
            if name in modules and name != layer_groups.HEAD:
                fully_shard(modules[name], mesh=mesh)
        fully_shard(cut, mesh=mesh)
        return cut

    def _move(self, optimizer, old, new, whole) -> None:
        """The optimizer's parameters and moments from one network to the other."""
        from torch.distributed.tensor import distribute_tensor

        pairs = zip(old.parameters(), new.parameters())
        places = {id(one): other for one, other in pairs}
        for group in optimizer.param_groups:
            group["params"] = [places.get(id(p), p) for p in group["params"]]
        for parameter in [p for p in optimizer.state if id(p) in places]:
            entries, target = optimizer.state.pop(parameter), places[id(parameter)]
            for key, value in entries.items():
                if not isinstance(value, torch.Tensor) or value.shape != target.shape:
                    continue
                if whole is not None:
                    entries[key] = whole(value)
                else:
                    entries[key] = distribute_tensor(
                        value.contiguous(), target.device_mesh, target.placements
                    )
            optimizer.state[target] = entries


@lru_cache(maxsize=1)
def current() -> Alone:
    """This process and its siblings, by the environment that a launcher sets."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("true", "1")
    return Sharded() if sharded else Together()
