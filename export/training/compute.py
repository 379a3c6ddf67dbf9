"""The devices of a training: a processor, a GPU, or several processes of torchrun or Ray Train."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from convoy.export.errors import ExportError

Policy = Literal["auto", "cpu", "cuda"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of `mallopt`, by malloc.h: free bytes to give back, bytes to map on their own."""

_LARGEST = 2**31 - 1
"""Largest value of a parameter, in bytes: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """
    The part of a training that one process does.

    Attributes:
        device: The device that it computes on.
        rank: Number of this process, from 0; the first one prints and writes.
        world_size: Number of processes.
        autocast: Type of matrix products and convolutions; None is float32.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1
    autocast: torch.dtype | None = None

    @property
    def is_first(self) -> bool:
        """Return whether this process prints and writes."""
        return self.rank == 0

    @property
    def name(self) -> str:
        """Return the device, and the type if it is not float32, for people."""
        is_gpu = self.device.type == "cuda"
        name = torch.cuda.get_device_name(self.device) if is_gpu else self.device.type
        return f"{name}, {str(self.autocast).removeprefix('torch.')}" if self.autocast else name

    def wrap(self, network: nn.Module) -> nn.Module:
        """Make the gradients of *network* the mean over all processes."""
        if self.world_size == 1:
            return network
        devices = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=devices)

    def share_buffers(self, network: nn.Module) -> None:
        """Give *network* the statistics of batch norm, and other buffers, of the first process."""
        if self.world_size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)

    def sum(self, values: Tensor) -> Tensor:
        """Add up *values* over all processes, in place."""
        if self.world_size > 1:
            distributed.all_reduce(values)
        return values


CPU = Compute(device=torch.device("cpu"))


@contextmanager
def joined(policy: Policy, mixed_precision: bool) -> Iterator[Compute]:
    """
    Join the processes of torchrun or Ray Train, if there are any, and choose a device.

    Raises:
        ExportError: If a GPU is required and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if policy == "cuda" and not has_gpu:
        raise ExportError("--device cuda: PyTorch cannot find a GPU")
    on_gpu = has_gpu and policy != "cpu"
    if not on_gpu:
        _keep_memory()
    # Several processes that are joined already: Ray Train does that, and ends it.
    if distributed.is_initialized():
        yield _one_of_several(on_gpu, mixed_precision)
    # Several processes that torchrun started.
    elif distributed.is_torchelastic_launched():
        distributed.init_process_group("nccl" if on_gpu else "gloo")
        try:
            yield _one_of_several(on_gpu, mixed_precision)
        finally:
            distributed.destroy_process_group()
    # One process.
    else:
        yield _compute("cuda:0" if on_gpu else "cpu", 0, 1, mixed_precision)


def _one_of_several(on_gpu: bool, mixed_precision: bool) -> Compute:
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    # They are spread over the GPUs of this machine that the process may see.
    device = f"cuda:{rank % torch.cuda.device_count()}" if on_gpu else "cpu"
    return _compute(device, rank, world_size, mixed_precision)


def _compute(device: str, rank: int, world_size: int, mixed_precision: bool) -> Compute:
    where = torch.device(device)
    autocast: torch.dtype | None = None
    if where.type == "cuda":
        torch.cuda.set_device(where)
        if mixed_precision:
            # bfloat16 has float32's range, so that small gradients need no scaling.
            autocast = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return Compute(device=where, rank=rank, world_size=world_size, autocast=autocast)


def _keep_memory() -> None:
    """
    Let glibc keep freed memory for the next step, as long as the process lives.

    By default each large tensor is memory that the kernel has to clear anew: a sixth of the time
    of a training of VGG-16 on 2 cores. It takes 14 % more memory for that one, 2 % for GoogLeNet.
    Other C libraries have no `mallopt`, and stay as they are.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            libc.mallopt(parameter, _LARGEST)
