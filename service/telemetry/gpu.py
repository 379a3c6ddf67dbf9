"""What the GPUs of this machine hold and do, read from NVIDIA's management library.

Where there is no driver, or the extra gpu is not installed, there is nothing to tell.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)


class GpuFacts(NamedTuple):
    """
    One GPU, now.

    Attributes:
        used_bytes: Memory that all processes hold.
        total_bytes: Memory that it has.
        utilization: Share of the last moments in which some kernel ran, in [0, 1].
    """

    uuid: str
    used_bytes: int
    total_bytes: int
    utilization: float


def open_nvml() -> Any:
    """NVIDIA's management library, ready to be asked; None where it is not to be had."""
    try:
        import pynvml  # an extra

        pynvml.nvmlInit()
    except ImportError:
        return None
    except pynvml.NVMLError as error:
        logger.info("no GPU to watch", extra={"reason": str(error)})
        return None
    return pynvml


def gpu_name() -> str:
    """What the first GPU is called; empty where there is none."""
    nvml = open_nvml()
    if nvml is None:
        return ""
    name: str = nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(0))
    return name


def gpus(nvml: Any) -> Iterator[GpuFacts]:
    """Read every GPU; one that does not answer is left out."""
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            device = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(device)
            rates = nvml.nvmlDeviceGetUtilizationRates(device)
            uuid = nvml.nvmlDeviceGetUUID(device)
        except nvml.NVMLError as error:
            logger.warning("a GPU does not answer", extra={"gpu": index, "reason": str(error)})
            continue
        yield GpuFacts(uuid, memory.used, memory.total, rates.gpu / 100)
