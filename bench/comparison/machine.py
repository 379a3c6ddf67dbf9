"""The machine that a comparison is measured on."""

from __future__ import annotations

import math
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import onnxruntime

from bench.comparison.results import Machine
from service.resources import memory_bytes
from service.runtime import CPU, Device

_PROC = Path("/proc")


def describe(device: Device) -> Machine:
    """Say where a measurement runs, now, on *device*."""
    return Machine(
        processor=_field("cpuinfo", "model name") or platform.machine(),
        cpus=os.cpu_count() or 1,
        threads=device.intra_op_threads,
        provider=CPU,
        onnxruntime=onnxruntime.__version__,
        measured_at=datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def free_bytes() -> float:
    """Memory that the process may still take; inf where the system does not tell."""
    found = _field("meminfo", "MemAvailable")
    if not found:
        return math.inf
    memory = memory_bytes()
    free = int(found.removesuffix(" kB")) * 1024
    return min(free, memory.get("cgroup_limit", math.inf) - memory["resident"])


def _field(file: str, name: str) -> str:
    """The first value of *name* that Linux tells in /proc; empty if there is none."""
    try:
        lines = (_PROC / file).read_text().splitlines()
    except OSError:
        return ""
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(values, "")
