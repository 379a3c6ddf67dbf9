"""The processors, memory and file descriptors that the process may use, and the memory it uses.

The figures come from `/proc` and the control group (version 2, or 1), so that they are correct in a
container, too. Figures that the system does not report are left out.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import resource
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
CPU_INFO = Path("/proc/cpuinfo")
STATUS = Path("/proc/self/status")

LARGE_BYTES = 1 << 22
"""The C library returns blocks of this size or more to the system when they are freed."""

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h

# Version 1 reports this or more for "no limit": the largest multiple of a page in 63 bits.
_NO_LIMIT = 2**62


def usable_cpus(cgroup: Path = CGROUP) -> int:
    """Return the number of usable processors: the affinity, or the quota if that is smaller."""
    affinity = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(affinity, _cpu_quota(cgroup))))


def processor_name() -> str:
    """Return the system's name for its processor."""
    with suppress(OSError):
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_bytes(cgroup: Path = CGROUP, status: Path = STATUS) -> dict[str, int]:
    """
    Return memory in bytes, by kind.

    `resident` and `peak_resident` are those of the process; `cgroup`, `cgroup_peak` and
    `cgroup_limit` those of its control group, which include the page cache of its files.
    """
    found = {
        "resident": _kib(status, "VmRSS:"),
        "peak_resident": _kib(status, "VmHWM:"),
        "cgroup": _number(cgroup / "memory.current", cgroup / "memory/memory.usage_in_bytes"),
        "cgroup_peak": _number(cgroup / "memory.peak", cgroup / "memory/memory.max_usage_in_bytes"),
        "cgroup_limit": _number(cgroup / "memory.max", cgroup / "memory/memory.limit_in_bytes"),
    }
    return {kind: value for kind, value in found.items() if value is not None}


def map_large_blocks() -> None:
    """
    Return blocks of `LARGE_BYTES` and more to the system as soon as they are freed.

    By default glibc raises this bound up to 32 MiB. The pixels of large images would then share its
    heaps with long-lived objects, and the heaps would grow with the images that clients send.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc, not musl
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


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


def _cpu_quota(cgroup: Path) -> float:
    """Return the quota of the control group in processors; inf without one."""
    try:  # version 2
        quota, period = (cgroup / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except FileNotFoundError:  # version 1
        quota_us = _number(cgroup / "cpu/cpu.cfs_quota_us")
        period_us = _number(cgroup / "cpu/cpu.cfs_period_us")
        return quota_us / period_us if quota_us and period_us and quota_us > 0 else math.inf


def _kib(status: Path, name: str) -> int | None:
    """Return the size in the line *name* in bytes; None if the file cannot be read."""
    # Every file needs a descriptor: without a free one, metrics do without this figure.
    with suppress(OSError):
        for line in status.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return None


def _number(*paths: Path) -> int | None:
    """Return the number in the first of *paths* that is there; None without one, or no limit."""
    for path in paths:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        return None if text == "max" or int(text) >= _NO_LIMIT else int(text)
    return None
