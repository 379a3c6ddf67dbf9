import math
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from convoy.service.machine.resources import (
    descriptor_limit,
    has_gpu,
    has_gpu_driver,
    memory_bytes,
    raise_descriptor_limit,
    usable_cpus,
)
from tests.harness import machine


def quota(root: Path, text: str) -> Path:
    """Write a machine whose process has this quota, and return the root of its files."""
    return machine.write(root, "0::/service\n", {"service/cpu.max": text})


@pytest.mark.parametrize(
    ("text", "expected"), [("max 100000", 8), ("150000 100000", 2), ("10000 100000", 1)]
)
def test_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int) -> None:
    """
    The quota counts where it is smaller than the affinity, rounded up, and at least one.
    """
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert usable_cpus(quota(tmp_path, text)) == expected


def test_cpus_by_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A quota larger than the affinity, or none at all, leaves the affinity.
    """
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert usable_cpus(tmp_path / "nothing") == 1
    assert usable_cpus(quota(tmp_path, "400000 100000")) == 1


@pytest.mark.parametrize("name", ["nvidiactl", "dxg", "nvhost-gpu"])
def test_gpu(tmp_path: Path, name: str) -> None:
    """
    A GPU is there if its driver has a device.
    """
    (tmp_path / "dev").mkdir()
    assert not has_gpu(tmp_path)
    (tmp_path / "dev" / name).touch()
    assert has_gpu(tmp_path)


def test_gpu_driver(tmp_path: Path) -> None:
    """
    A driver that runs is found in a container without its devices, too.
    """
    assert not has_gpu_driver(tmp_path)
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").touch()
    assert has_gpu_driver(tmp_path)
    assert not has_gpu(tmp_path)


def test_memory(tmp_path: Path) -> None:
    """
    The memory of the process and that of its control group are in bytes.
    """
    root = machine.write(tmp_path, "0::/\n", {"memory.current": "5", "memory.max": "7"})
    assert memory_bytes(root) == {
        "resident": 102_400,
        "peak_resident": 204_800,
        "cgroup": 5,
        "cgroup_limit": 7,
    }


def test_memory_that_cannot_be_read(tmp_path: Path) -> None:
    """
    Figures whose files cannot be read are left out, as in a process without a free descriptor.
    """
    assert memory_bytes(tmp_path / "nothing") == {}
    root = machine.write(tmp_path, "0::/\n", {"memory.current": "5"})
    (root / "proc/self/status").unlink()
    assert memory_bytes(root) == {"cgroup": 5}


def test_descriptor_limit() -> None:
    """
    The limit of open files is raised as far as the system allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        assert descriptor_limit() == min(soft, 512)
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert descriptor_limit() == (math.inf if hard == resource.RLIM_INFINITY else hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_memory_of_this_process() -> None:
    """
    On a real system the process's own figures are there.
    """
    found = memory_bytes()
    assert found["peak_resident"] >= found["resident"] > 1_000_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library has no mallopt")
@pytest.mark.parametrize("mapped", [True, False])
def test_large_blocks_are_mapped(mapped: bool) -> None:
    """
    A large block is one of its own, as long as it lives, also when others were freed before; the C
    library alone would put the second one among the small ones, which keep it from going.
    """
    program = (
        "import ctypes, sys\n"
        "from convoy.service.machine.resources import LARGE_BYTES, map_large_blocks\n"
        "class Mallinfo(ctypes.Structure):\n"
        "    _fields_ = [(f'field{i}', ctypes.c_size_t) for i in range(10)]\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype, libc.mallinfo2.restype = ctypes.c_void_p, Mallinfo\n"
        "if sys.argv[1] == 'True':\n"
        "    map_large_blocks()\n"
        "libc.free(ctypes.c_void_p(libc.malloc(3 * LARGE_BYTES)))\n"
        "before = libc.mallinfo2().field3\n"  # blocks that are mapped
        "libc.malloc(2 * LARGE_BYTES)\n"
        "print(libc.mallinfo2().field3 - before)\n"
    )
    command = [sys.executable, "-c", program, str(mapped)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == int(mapped)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library has no mallopt")
def test_smaller_blocks_stay_in_the_heap() -> None:
    """
    The pixels of one photo take the pages of the photo before, which the kernel need not clear.
    """
    program = (
        "import ctypes, resource\n"
        "from convoy.service.machine.resources import LARGE_BYTES, map_large_blocks\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "def use():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    block = ctypes.c_void_p(libc.malloc(LARGE_BYTES // 2))\n"
        "    libc.memset(block, 1, LARGE_BYTES // 2)\n"
        "    libc.free(block)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "map_large_blocks()\n"
        "print(use(), use())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    first, second = map(int, done.stdout.split())
    assert first > 500  # pages of 4 KiB
    assert second < 50
