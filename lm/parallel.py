"""The processes of one training run: one, or as many as torchrun started on this host.

    torchrun --nproc-per-node 4 -m rewards.train --train full …

Every process reads the same files and holds the same weights; each computes its part of a step, and the sum
of their gradients moves all of them alike. The first alone writes the run directory. torchrun tells a process
who it is by environment variables; here and in lm/run_directory.py is where they are read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

BUCKET = 1 << 24  # numbers sent at once


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of how many we are."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @classmethod
    def joined(cls, device: str) -> Processes:
        """Join the others, if torchrun started us; each process has a GPU of its own where there are GPUs."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls(device=device)
        if device.startswith("cuda"):
            device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        return cls(dist.get_rank(), size, device)

    @property
    def first(self) -> bool:
        """Whether we are the one that writes."""
        return self.rank == 0

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, many in one message."""
        if self.size == 1:
            return
        bucket: list[Tensor] = []
        held = 0
        for tensor in tensors:
            if bucket and held + tensor.numel() > BUCKET:
                _sent(bucket)
                bucket, held = [], 0
            bucket.append(tensor)
            held += tensor.numel()
        if bucket:
            _sent(bucket)

    def total(self, *values: float) -> list[float]:
        """The sums of some numbers over all processes."""
        if self.size == 1:
            return list(values)
        found = torch.tensor(values, dtype=torch.float64)
        found = found.to(self.device) if self.device.startswith("cuda") else found
        dist.all_reduce(found)
        return [float(value) for value in found.cpu()]

    def any(self, asked: bool) -> bool:
        """Whether any process says so: what all must do at the same step."""
        return self.total(float(asked))[0] > 0

    def share(self, sizes: Sequence[int]) -> list[int]:
        """Which of some pieces of work are ours: the largest first, each to whoever has least so far."""
        loads = [0] * self.size
        mine = []
        for place in sorted(range(len(sizes)), key=lambda place: (-sizes[place], place)):
            least = loads.index(min(loads))
            loads[least] += sizes[place]
            if least == self.rank:
                mine.append(place)
        return sorted(mine)

    def wait(self) -> None:
        """Go on when all are here."""
        if self.size > 1:
            dist.barrier()

    def leave(self) -> None:
        """Part from the others."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def _sent(bucket: Sequence[Tensor]) -> None:
    flat = torch.cat([tensor.flatten() for tensor in bucket])
    dist.all_reduce(flat)
    for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
        tensor.copy_(part.view_as(tensor))
