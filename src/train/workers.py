"""Several ranks that train one network together: the parts of a batch, and what they must agree on.

Each rank takes its part of each batch of one common order, torch's DistributedDataParallel makes the mean of the
gradients, and the loss is scaled so that this is the whole batch's. What is decided, the first rank decides for all.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

AGREE_EVERY = 8  # steps: as many may pass until a signal is obeyed
PATIENCE = timedelta(hours=2)  # longer than the first rank needs to evaluate, or to predict at a member's end


class Team:
    """One rank, which trains alone: every answer is its own, and nothing is sent. `Together` is for several."""

    rank, size = 0, 1

    def prepared(self, net: nn.Module) -> nn.Module:
        """The network as this team trains it, before anything is made of its weights."""
        return net

    def learner(self, net: nn.Module) -> nn.Module:
        """What is to be called for gradients; to be asked for anew when other weights learn than before."""
        return net

    def gathering(self, learner: nn.Module, last: bool) -> AbstractContextManager:
        """The context of a piece's forward and backward pass; the gradients are gathered with a batch's last one."""
        return nullcontext()

    def part_dropout(self) -> None:
        """Lets the ranks draw different masks of dropout from here on."""

    def of_first(self, action: Callable):
        """What `action` returns on the first rank, on all; the others do not call it."""
        return action()

    def of_all(self, value) -> list:
        """Each rank's value, on all."""
        return [value]

    def same(self, tensor: Tensor) -> Tensor:
        """The first rank's tensor, on all."""
        return tensor

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum of the ranks' tensors, on all."""
        return tensor

    def agreed(self, *numbers: int) -> tuple[int, ...]:
        """The largest of the ranks' numbers, each; to be called after each step, and zeros after most."""
        return numbers

    def about(self, batch: int, lr: float) -> str:
        """How batches are shared, for people; empty where they are not."""
        return ""


ALONE = Team()


class Together(Team):
    """One of several ranks; all must make the same calls in the same order, or they wait for each other for ever."""

    def __init__(self, store: dist.Store, rank: int, size: int, device: torch.device):
        self.rank, self.size, self.device, self.calls = rank, size, device, 0
        backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)

    def close(self) -> None:
        """Leaves the group."""
        dist.destroy_process_group()

    def prepared(self, net: nn.Module) -> nn.Module:
        if self.device.type != "cuda":  # torch has it for GPUs alone: on a CPU batch norm sees the rank's part
            return net
        from timm.layers import convert_sync_batchnorm  # torch's own would lose what timm's norms have besides

        return convert_sync_batchnorm(net)

    def learner(self, net: nn.Module) -> nn.Module:
        places = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(net, device_ids=places)

    def gathering(self, learner: nn.Module, last: bool) -> AbstractContextManager:
        return nullcontext() if last else learner.no_sync()

    def part_dropout(self) -> None:
        if self.rank:
            torch.manual_seed(int(torch.randint(2**48, ())) + self.rank)

    def of_first(self, action: Callable):
        box = [None if self.rank else action()]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def of_all(self, value) -> list:
        values = []
        for rank in range(self.size):
            box = [value]
            dist.broadcast_object_list(box, src=rank, device=torch.device("cpu"))
            values.append(box[0])
        return values

    def same(self, tensor: Tensor) -> Tensor:
        dist.broadcast(tensor, src=0)
        return tensor

    def summed(self, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def agreed(self, *numbers: int) -> tuple[int, ...]:
        self.calls += 1
        if self.calls % AGREE_EVERY:
            return (0,) * len(numbers)
        largest = torch.tensor([int(number) for number in numbers])  # on the host: it is not to wait for a GPU
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return tuple(largest.tolist())

    def about(self, batch: int, lr: float) -> str:
        norm = "of the whole batch" if self.device.type == "cuda" else "of each rank's part"
        return (
            f"{self.size} ranks together: one common order of the rows, batch {batch}, of which each rank takes "
            f"{-(-batch // self.size)} at most, learning rate {lr:g} as on one rank; batch norm {norm}"
        )
