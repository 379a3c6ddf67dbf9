"""The choice of the tests that this machine can run, and fixtures of all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

from convoy.service.runtime.cuda import has_cuda

# Before the first import of the harness: its assertions report values as those of test modules do.
pytest.register_assert_rewrite("tests.harness")

from tests.harness.lenet import LENET_REPOSITORY  # noqa: E402

# Where PyTorch is not installed, the tests of the server run all the same.
NEED_TORCH = ["unit/bench", "unit/commands/compare", "unit/export", "unit/models"]
collect_ignore = [] if find_spec("torch") else NEED_TORCH

# The same examples each time, and no assertion of speed.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    has_gpu = has_cuda() and Path("/dev/nvidiactl").exists()
    if not has_gpu:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device, or no onnxruntime-gpu"))


@pytest.fixture(scope="session", autouse=True)
def one_import_name() -> Iterator[None]:
    """Check that nothing imported a folder by its bare name, as a second copy of its classes."""
    yield
    assert not {"artifact", "export", "models", "service"} & set(sys.modules)


@pytest.fixture
def lenet_repository() -> Path:
    """A repository that holds a LeNet-5."""
    return LENET_REPOSITORY
