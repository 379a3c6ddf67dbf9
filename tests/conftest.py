"""The choice of the tests that this machine can run, and fixtures of all of them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

from convoy.service.machine.resources import has_bf16
from convoy.service.runtime.cuda import has_cuda
from convoy.service.runtime.openvino import has_openvino

# Before the first import of the harness: its assertions report values as those of test modules do.
pytest.register_assert_rewrite("tests.harness")

from tests.harness.lenet import LENET_REPOSITORY  # noqa: E402

# Where PyTorch is not installed, the tests of the server run all the same.
NEED_TORCH = ["unit/bench", "unit/commands/compare", "unit/export", "unit/models"]
collect_ignore = [] if find_spec("torch") else NEED_TORCH

# A shell starts jobs in the background with SIGINT ignored, and a process inherits that. Tests that
# interrupt a command would wait for its end.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, and no assertion of speed.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU, OpenVINO or bf16 where there is none."""
    lacks = {
        "gpu": "" if _has_gpu() else "no CUDA device, or no onnxruntime-gpu",
        "openvino": "" if has_openvino() else "no OpenVINO: the extra openvino in place of cpu",
        "bf16": "" if has_bf16() else "the processor has no bf16",
    }
    for item in items:
        for name, reason in lacks.items():
            if reason and item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))


def _has_gpu() -> bool:
    return has_cuda() and Path("/dev/nvidiactl").exists()


@pytest.fixture(scope="session", autouse=True)
def one_import_name() -> Iterator[None]:
    """Check that nothing imported a folder by its bare name, as a second copy of its classes."""
    yield
    assert not {"artifact", "export", "models", "service"} & set(sys.modules)


@pytest.fixture
def lenet_repository() -> Path:
    """A repository that holds a LeNet-5."""
    return LENET_REPOSITORY
