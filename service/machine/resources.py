"""The processors, memory and file descriptors that the process may use, and the memory it uses.

The figures come from `/proc` and the control groups, so that they are correct in a container, too.
Figures that the system does not report are left out.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import resource
from contextlib import suppress
from pathlib import Path

from convoy.service.machine import cgroup

CPU_INFO = Path("/proc/cpuinfo")

BF16_FEATURES = frozenset({"avx512_bf16", "amx_bf16"})
"""Instructions of x86 that multiply bfloat16 numbers, as Linux names them."""

LARGE_BYTES = 1 << 23
"""The C library returns blocks of this size or more to the system when they are freed. A photo that
is decoded for a network of 224 px has smaller ones."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def usable_cpus(root: Path = cgroup.ROOT) -> int:
    """
    Return the number of usable processors: the affinity, or the quota if that is smaller.

    Args:
        root: Root of the file system, with the folders `proc` and `sys`.
    """
    affinity = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(affinity, cgroup.cpu_quota(root))))


def processor_name() -> str:
    """Return the system's name for its processor."""
    with suppress(OSError):
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def has_bf16(cpu_info: Path = CPU_INFO) -> bool:
    """
    Return whether the processor multiplies bfloat16 numbers itself.

    Args:
        cpu_info: File that describes the processor.
    """
    with suppress(OSError):  # not Linux
        for line in cpu_info.read_text().splitlines():
            if line.startswith("flags"):
                return not BF16_FEATURES.isdisjoint(line.split())
    return False


def process_usage(process: int) -> tuple[float, int]:
    """
    Return the processor time of another process, in seconds, and its resident memory in bytes.

    Both are 0 if it has ended.
    """
    try:
        # The name of the program, in parentheses, may have spaces.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0
    user, system, pages = int(fields[11]), int(fields[12]), int(fields[21])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + system) / ticks, pages * os.sysconf("SC_PAGE_SIZE")


def has_gpu(root: Path = cgroup.ROOT) -> bool:
    """
    Return whether the process can see a GPU of NVIDIA's, whether or not it can use it.

    Args:
        root: Root of the file system, with the folder `dev`.
    """
    # The driver's device file; under Windows' subsystem for Linux, and on Jetson, it has other
    # names.
    return any((root / "dev" / name).exists() for name in ("nvidiactl", "dxg", "nvhost-gpu"))


def has_gpu_driver(root: Path = cgroup.ROOT) -> bool:
    """
    Return whether the kernel runs NVIDIA's driver, also in a container without its devices.

    Args:
        root: Root of the file system, with the folder `proc`.
    """
    return (root / "proc/driver/nvidia/version").exists()


def memory_bytes(root: Path = cgroup.ROOT) -> dict[str, int]:
    """
    Return memory in bytes, by kind.

    `resident` and `peak_resident` are those of the process, the others those of its control group.
    """
    status = root / "proc/self/status"
    process = {"resident": _kib(status, "VmRSS:"), "peak_resident": _kib(status, "VmHWM:")}
    found = {kind: value for kind, value in process.items() if value is not None}
    return found | cgroup.memory(root)


def map_large_blocks() -> None:
    """
    Return blocks of `LARGE_BYTES` and more to the system as soon as they are freed.

    By default glibc raises this bound up to 32 MiB. The pixels of large images would then share its
    heaps with long-lived objects, and the heaps would grow with the images that clients send.

    Smaller blocks stay in the heaps, up to twice the bound, which is glibc's own proportion. Else
    each photo would get new pages from the system, which takes as long as to resize it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc, not musl
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * LARGE_BYTES)


def raise_descriptor_limit() -> None:
    """Raise the limit of open files as far as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A soft limit of 1,024 is for programs that use select(), whose tables are of that size.
    with suppress(ValueError, OSError):  # the hard limit is above the kernel's own
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_limit() -> float:
    """Return the limit of open files; inf without one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else soft


def give_back_memory() -> None:
    """Return freed memory to the system, which glibc would keep."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _kib(status: Path, name: str) -> int | None:
    """Return the size in the line *name* in bytes; None if the file cannot be read."""
    # Every file needs a descriptor: without a free one, metrics do without this figure.
    with suppress(OSError):
        for line in status.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return None
