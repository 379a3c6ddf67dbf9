"""The fixtures of all tests of networks."""

import pytest
import torch


@pytest.fixture(autouse=True)
def same_weights() -> None:
    """Networks begin with the same weights each time: few are too tame or too wild to compare."""
    torch.manual_seed(0)
