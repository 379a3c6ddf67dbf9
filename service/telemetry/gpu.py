"""Memory and utilization of this machine's GPUs, from NVIDIA's management library (NVML).

Without a driver, or without the extra gpu, no GPU is reported.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)


class GpuFacts(NamedTuple):
    """
    The state of one GPU.

    Attributes:
        used_bytes: Memory that all processes use together.
        total_bytes: Memory of the GPU.
        utilization: Share of the last sampling period in which a kernel ran, in [0, 1].
    """

    uuid: str
    used_bytes: int
    total_bytes: int
    utilization: float


def open_nvml() -> Any:
    """Initialize NVML and return its module; None if it is not available."""
    try:
        import pynvml  # an extra

        pynvml.nvmlInit()
    except ImportError:  # the extra gpu is not installed
        return None
    except pynvml.NVMLError as error:  # there is no driver, or no GPU
        logger.info("no GPU to monitor", extra={"reason": str(error)})
        return None
    return pynvml


def gpu_name() -> str:
    """Return the name of the first GPU; empty if there is none."""
    nvml = open_nvml()
    if nvml is None:
        return ""
    name: str = nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(0))
    return name


def gpus(nvml: Any) -> Iterator[GpuFacts]:
    """Read the state of every GPU, except those that do not answer."""
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            device = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(device)
            rates = nvml.nvmlDeviceGetUtilizationRates(device)
            uuid = nvml.nvmlDeviceGetUUID(device)
        except nvml.NVMLError as error:
            logger.warning("a GPU does not respond", extra={"gpu": index, "reason": str(error)})
            continue
        yield GpuFacts(uuid, memory.used, memory.total, rates.gpu / 100)
