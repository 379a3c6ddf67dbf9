"""The machine on which a comparison is measured."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime
from pathlib import Path

import onnxruntime

from convoy.commands.compare.comparison_data import Machine
from convoy.service.machine.resources import memory_bytes, processor_name
from convoy.service.runtime.device import Device
from convoy.service.runtime.runs import CPU

MEMORY_INFO = Path("/proc/meminfo")


def describe(device: Device, power_source: str) -> Machine:
    """Describe the machine and the present date, for a measurement on *device*."""
    return Machine(
        processor=processor_name(),
        cpus=os.cpu_count() or 1,
        threads=device.intra_op_threads,
        provider=CPU,
        onnxruntime=onnxruntime.__version__,
        measured_at=datetime.now(UTC).strftime("%Y-%m-%d"),
        power_source=power_source,
    )


def free_bytes() -> float:
    """Return the memory that the process can still allocate; inf if the system does not say."""
    try:
        lines = MEMORY_INFO.read_text().splitlines()
    except OSError:  # not Linux: let the allocation itself fail
        return math.inf
    (found,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    memory = memory_bytes()
    # In a container, the cgroup's limit counts, and this process is in it already.
    return min(int(found) * 1024, memory.get("cgroup_limit", math.inf) - memory["resident"])
