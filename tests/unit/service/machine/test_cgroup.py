import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from convoy.service.machine.cgroup import cpu_quota, memory
from tests.harness import machine

V1 = {
    "/sys/fs/cgroup/cpu,cpuacct": "/ cgroup rw,cpu,cpuacct",
    "/sys/fs/cgroup/memory": "/ cgroup rw,memory",
    "/sys/fs/cgroup/unified": "/ cgroup2 rw,nsdelegate",
}
"""The mounts of a machine with both versions, the controllers in version 1."""

POD = "/kubepods.slice/kubepods-pod1.slice/cri-2.scope"


def test_service_of_systemd(tmp_path: Path) -> None:
    """
    CPUQuota and MemoryMax lie in the group of the service, below the mount.
    """
    files = {
        "system.slice/convoy.service/cpu.max": "150000 100000",
        "system.slice/convoy.service/memory.max": "1000",
        "system.slice/convoy.service/memory.current": "300",
        "system.slice/convoy.service/memory.peak": "400",
        "system.slice/cpu.max": "max 100000",
        "system.slice/memory.max": "max",
        "cgroup.controllers": "cpu memory",
    }
    root = machine.write(tmp_path, "0::/system.slice/convoy.service\n", files)
    assert cpu_quota(root) == 1.5
    assert memory(root) == {"cgroup": 300, "cgroup_peak": 400, "cgroup_limit": 1000}


@pytest.mark.parametrize(
    ("text", "working_set"),
    [
        ("anon 100\ninactive_file 250\nactive_file 20\n", 50),
        ("cache 270\ninactive_file 10\ntotal_inactive_file 250\n", 50),  # version 1
        ("inactive_file 400\n", 0),  # the files are not read at the same time
    ],
)
def test_working_set(tmp_path: Path, text: str, working_set: int) -> None:
    """
    The page cache that the kernel drops first is not part of the working set.
    """
    files = {"memory.current": "300", "memory.max": "310", "memory.stat": text}
    root = machine.write(tmp_path, "0::/\n", files)
    assert memory(root) == {
        "cgroup": 300,
        "cgroup_working_set": working_set,
        "cgroup_limit": 310,
    }


@pytest.mark.parametrize("level", ["a", "a/b", "a/b/c"])
def test_smallest_limit_counts(tmp_path: Path, level: str) -> None:
    """
    The smallest limit counts, of whichever group it is, with the memory that counts towards it.
    """
    files = {}
    for group in ("a", "a/b", "a/b/c"):
        files[f"{group}/cpu.max"] = "400000 100000"
        files[f"{group}/memory.max"] = "4000"
        files[f"{group}/memory.current"] = "1"
    files |= {f"{level}/cpu.max": "300000 100000", f"{level}/memory.max": "3000"}
    files[f"{level}/memory.current"] = "2"
    root = machine.write(tmp_path, "0::/a/b/c\n", files)
    assert cpu_quota(root) == 3.0
    assert memory(root) == {"cgroup": 2, "cgroup_limit": 3000}


def test_without_limits(tmp_path: Path) -> None:
    """
    Without limits the memory is that of the process's own group.
    """
    files = {
        "a/b/cpu.max": "max 100000",
        "a/b/memory.max": "max",
        "a/b/memory.current": "5",
        "a/memory.current": "50",
    }
    root = machine.write(tmp_path, "0::/a/b\n", files)
    assert cpu_quota(root) == math.inf
    assert memory(root) == {"cgroup": 5}


@pytest.mark.parametrize(
    ("path", "top"),
    [
        ("/", "/"),  # a namespace of its own, as containers have it in version 2
        (POD, "/"),  # the host's namespace, and a mount of the container's own group
        (POD, POD),  # the same, as mountinfo states it
        ("/", POD),
        ("/../../cri-2.scope", "/../.."),
        ("/../cri-2.scope", "/"),
    ],
)
def test_container(tmp_path: Path, path: str, top: str) -> None:
    """
    In a container, the limits lie in the folder of the mount, whatever path the process has.
    """
    files = {"cpu.max": "200000 100000", "memory.max": "7", "memory.current": "6"}
    mounts = {"/sys/fs/cgroup": f"{top} cgroup2 rw"}
    root = machine.write(tmp_path, f"0::{path}\n", files, mounts)
    assert cpu_quota(root) == 2.0
    assert memory(root) == {"cgroup": 6, "cgroup_limit": 7}


def test_group_inside_a_container(tmp_path: Path) -> None:
    """
    A service inside a container has the limits of both, in the host's namespace, too.
    """
    files = {
        "cpu.max": "200000 100000",
        "init/convoy/cpu.max": "100000 100000",
        "init/convoy/memory.max": "8",
        "memory.max": "7",
    }
    mounts = {"/sys/fs/cgroup": f"{POD} cgroup2 rw"}
    root = machine.write(tmp_path, f"0::{POD}/init/convoy\n", files, mounts)
    assert cpu_quota(root) == 1.0
    assert memory(root) == {"cgroup_limit": 7}


def test_host_mounted_into_a_container(tmp_path: Path) -> None:
    """
    The mount that shows most groups counts, of several ones.
    """
    files = {"memory.max": "9", f"host{POD}/memory.max": "9", "host/kubepods.slice/memory.max": "8"}
    mounts = {
        "/sys/fs/cgroup": f"{POD} cgroup2 rw",
        "/sys/fs/cgroup/host": "/ cgroup2 rw",
    }
    root = machine.write(tmp_path, f"0::{POD}\n", files, mounts)
    assert memory(root) == {"cgroup_limit": 8}


@pytest.mark.parametrize("quota", ["-1", "300000"])
def test_version_1(tmp_path: Path, quota: str) -> None:
    """
    In version 1 each controller has a tree, and the process a group in each.
    """
    files = {
        "cpu,cpuacct/system.slice/convoy/cpu.cfs_quota_us": quota,
        "cpu,cpuacct/system.slice/convoy/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/system.slice/cpu.cfs_quota_us": "400000",
        "cpu,cpuacct/system.slice/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "memory/user/memory.limit_in_bytes": "5000",
        "memory/user/memory.usage_in_bytes": "11",
        "memory/user/memory.max_usage_in_bytes": "12",
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "memory/memory.usage_in_bytes": "13",
        "unified/system.slice/convoy/cgroup.procs": "1",
    }
    groups = "4:memory:/user\n2:cpu,cpuacct:/system.slice/convoy\n1:name=systemd:/x\n0::/y\n"
    root = machine.write(tmp_path, groups, files, V1)
    assert cpu_quota(root) == (4.0 if quota == "-1" else 3.0)
    assert memory(root) == {"cgroup": 11, "cgroup_peak": 12, "cgroup_limit": 5000}


def test_colon_and_space_in_a_path(tmp_path: Path) -> None:
    """
    Names of groups and folders may hold colons and spaces.
    """
    mounts = {"/sys/fs/cgroup/my\\040groups": "/ cgroup2 rw"}
    files = {"my groups/a:b c/cpu.max": "100000 100000"}
    root = machine.write(tmp_path, "0::/a:b c\n", files, mounts)
    assert cpu_quota(root) == 1.0


def test_no_control_groups(tmp_path: Path) -> None:
    """
    Without /proc, or without a mount of control groups, there is no limit.
    """
    assert cpu_quota(tmp_path / "nothing") == math.inf
    assert memory(tmp_path / "nothing") == {}
    root = machine.write(tmp_path, "0::/a\n", {}, {})
    assert (cpu_quota(root), memory(root)) == (math.inf, {})


@pytest.fixture
def real_group() -> Iterator[dict[str, Path]]:
    """A group inside ours for each controller, with half a processor's quota and 1 GiB."""
    limits = [
        ("cpu", "cpu.max", "50000 100000"),
        ("cpu/cpu", "cpu.cfs_quota_us", "50000"),
        ("memory", "memory.max", str(2**30)),
        ("memory/memory", "memory.limit_in_bytes", str(2**30)),
    ]
    made: dict[str, Path] = {}
    try:
        for place, file, limit in limits:
            controller, _, tree = place.partition("/")
            outer = Path("/sys/fs/cgroup", tree) / f"convoy-test-{os.getpid()}"
            try:
                outer.mkdir(exist_ok=True)
                with (outer / file).open("r+") as limited:  # never a new file
                    limited.write(limit)
                (outer / "inner").mkdir()
            except OSError:  # the other version, or no right to make groups
                _remove(outer)
            else:
                made[controller] = outer
        yield made
    finally:
        for outer in made.values():
            _remove(outer)


def _remove(outer: Path) -> None:
    for group in (outer / "inner", outer):
        if group.is_dir():
            group.rmdir()


@pytest.mark.parametrize(
    ("controller", "call", "expected"),
    [("cpu", "cpu_quota()", "0.5"), ("memory", "memory()['cgroup_limit']", str(2**30))],
)
def test_real_group(real_group: dict[str, Path], controller: str, call: str, expected: str) -> None:
    """
    A process in a real group inside another one has the outer one's limits.
    """
    if controller not in real_group:
        pytest.skip("control groups cannot be made here")
    inner = real_group[controller] / "inner"
    program = f"from convoy.service.machine.cgroup import *; print({call})"
    joined = f'echo $$ > {inner}/cgroup.procs && exec "$0" -c "$1"'
    command = ["sh", "-c", joined, sys.executable, program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
