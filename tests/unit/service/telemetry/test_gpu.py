"""No GPU is at hand where these run: NVIDIA's library is one that answers as its manual says."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from convoy.service.telemetry.gpu import GpuFacts, gpus, open_nvml
from convoy.service.telemetry.metrics import Metrics


class NvmlError(Exception):
    pass


def handle(index: int) -> int:
    if index == 1:
        raise NvmlError("GPU is lost")
    return index


NVML: Any = SimpleNamespace(
    NVMLError=NvmlError,
    nvmlDeviceGetCount=lambda: 3,
    nvmlDeviceGetHandleByIndex=handle,
    nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(used=10 + device, total=80),
    nvmlDeviceGetUtilizationRates=lambda device: SimpleNamespace(gpu=50),
    nvmlDeviceGetUUID=lambda device: f"GPU-{device}",
)


def test_a_lost_gpu_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """
    Each GPU that answers is reported; the log names the one that does not.
    """
    assert list(gpus(NVML)) == [GpuFacts("GPU-0", 10, 80, 0.5), GpuFacts("GPU-2", 12, 80, 0.5)]
    assert "a GPU does not respond" in caplog.text


def test_metrics() -> None:
    """
    Memory and utilisation have one series for each GPU.
    """
    registry = CollectorRegistry()
    Metrics(registry).watch_gpus(lambda: gpus(NVML))
    value = registry.get_sample_value
    assert value("convoy_gpu_memory_used_bytes", {"gpu": "GPU-2"}) == 12
    assert value("convoy_gpu_memory_total_bytes", {"gpu": "GPU-2"}) == 80
    assert value("convoy_gpu_utilization_ratio", {"gpu": "GPU-0"}) == 0.5


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without the extra gpu there is nothing to report, and no error.
    """
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_nvml() is None


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Neither is there without a driver.
    """

    def fail() -> None:
        raise NvmlError("Driver Not Loaded")

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlInit=fail, NVMLError=NvmlError))
    assert open_nvml() is None
