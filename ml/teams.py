"""Several processes that train one model together: what each of them does, and how they agree."""

from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Team:
    """This process among those of one training. Alone, every method is a no-op: the same code trains in one process.

    In a team `torch.distributed` has been set up already (ml.launch). All processes must call the same methods in the
    same order. Sums of two processes are equal to the bit in every run; those of more are on one machine.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and reports."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of some rows: in order, of equal size but for one."""
        return rows.tensor_split(self.size)[self.rank]

    def add_up(self, totals: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            distributed.all_reduce(totals)
        return totals

    def agree(self, net: nn.Module) -> None:
        """Take over the running means of the first process: each has measured them on its own images."""
        if self.size > 1:
            for buffer in net.buffers():
                distributed.broadcast(buffer, 0)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()

    def wrap(self, net: nn.Module) -> nn.Module:
        """The net with gradients averaged over the processes."""
        if self.size == 1:
            return net
        device = next(net.parameters()).device
        return DistributedDataParallel(net, device_ids=[device] if device.type == "cuda" else None)


ALONE = Team()


def join_team(device: torch.device) -> Team:
    """Become one process of a team that torchrun started. Raises ValueError outside of one."""
    if not distributed.is_torchelastic_launched():
        raise ValueError("a team is started by torchrun: use ml.launch")
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Team(distributed.get_rank(), distributed.get_world_size())
