import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="of the C library of Linux")

FAULTS = """
import resource, torch
from convoy.export.training.compute import joined

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(4096, 4096)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
before = faults()
with joined("cpu", mixed_precision=False):
    for _ in range(10):  # glibc keeps the remainders of the first seven apart
        faults()
    print(before, faults())
"""
"""Prints how often the kernel brought in a page for 64 MiB that were there before."""


def test_freed_memory_is_kept() -> None:
    """
    A training on a processor takes new tensors from what it freed, not from the kernel.
    """
    printed = subprocess.run(
        [sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True
    ).stdout
    before, after = map(int, printed.split())
    assert after < before / 10
