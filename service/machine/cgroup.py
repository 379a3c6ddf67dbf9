"""The control groups of the process, with the limits that the system sets on them.

A container has a group, and so has a service of systemd. A limit holds for its group and all groups
inside it, so the files of every group are read, from the process's own to the outermost that is
mounted. Version 2 has one tree of groups. Version 1 has one per controller.
"""

from __future__ import annotations

import functools
import math
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/")

# Version 1 reports this or more for "no limit": the largest multiple of a page in 63 bits.
_NO_LIMIT = 2**62


class _Mount(NamedTuple):
    """
    A place in the file system that shows a tree of groups.

    Attributes:
        top: The group that is shown there, as a path in its tree.
        point: Its folder.
        controllers: The controllers of the tree; those of version 2 are not listed.
    """

    top: str
    point: Path
    controllers: frozenset[str]


def cpu_quota(root: Path = ROOT) -> float:
    """Return the smallest quota of the process's groups in processors; inf without one."""
    with suppress(OSError):  # there is no /proc
        return min((_quota(group) for group in _groups("cpu", root)), default=math.inf)
    return math.inf


def memory(root: Path = ROOT) -> dict[str, int]:
    """
    Return the memory of the control group in bytes, by kind, as far as the system reports it.

    `cgroup`, `cgroup_peak` and `cgroup_limit` are those of the group with the smallest limit, which
    is the first to run out of memory; of the process's own group if none has a limit. They include
    the page cache of files; `cgroup_working_set` is `cgroup` without the part of it that the kernel
    drops first, as in Kubernetes.
    """
    try:
        group = min(_groups("memory", root), key=_memory_limit)
    except (OSError, ValueError):  # there is no /proc, or no group
        return {}
    limit = _memory_limit(group)
    used, cached = (
        _number(group / "memory.current", group / "memory.usage_in_bytes"),
        _cached(group),
    )
    found = {
        "cgroup": used,
        "cgroup_working_set": None if used is None or cached is None else max(0, used - cached),
        "cgroup_peak": _number(group / "memory.peak", group / "memory.max_usage_in_bytes"),
        "cgroup_limit": None if math.isinf(limit) else int(limit),
    }
    return {kind: value for kind, value in found.items() if value is not None}


def _quota(group: Path) -> float:
    with suppress(OSError):  # version 2; its outermost group has no such file
        quota, period = (group / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    quota_us = _number(group / "cpu.cfs_quota_us")  # version 1
    period_us = _number(group / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and period_us and quota_us > 0 else math.inf


def _memory_limit(group: Path) -> float:
    limit = _number(group / "memory.max", group / "memory.limit_in_bytes")
    return math.inf if limit is None else limit


def _cached(group: Path) -> int | None:
    """Return the inactive page cache of a group in bytes; None if it is not reported."""
    with suppress(OSError):
        lines = (group / "memory.stat").read_text().splitlines()
        sizes = dict(line.split(" ", 1) for line in lines)
        # Version 1 has a second name for the sum of a group and those inside it.
        size = sizes.get("total_inactive_file", sizes.get("inactive_file"))
        return None if size is None else int(size)
    return None


def _number(*paths: Path) -> int | None:
    """Return the number in the first of *paths* that exists; None without one, or without limit."""
    for path in paths:
        with suppress(OSError):
            text = path.read_text().strip()
            return None if text == "max" or int(text) >= _NO_LIMIT else int(text)
    return None


# Once: memory is read each second, and a process is moved to its group before it is a server.
@functools.cache
def _groups(controller: str, root: Path) -> list[Path]:
    """Return the folders of the process's groups for *controller*, its own first."""
    path, version_1 = _path(controller, root)
    chains = [
        _chain(path, mount)
        for mount in _mounts(root)
        if (controller in mount.controllers if version_1 else not mount.controllers)
    ]
    # Of several places, take the one that shows most groups.
    return max(chains, key=len, default=[])


def _path(controller: str, root: Path) -> tuple[str, bool]:
    """Return the path of the process's group, and whether it is in a tree of version 1."""
    path = "/"
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, found = line.split(":", 2)
        if controller in controllers.split(","):
            return found, True
        if not controllers:
            path = found
    return path, False


def _mounts(root: Path) -> list[_Mount]:
    mounts = []
    for line in (root / "proc/self/mountinfo").read_text().splitlines():
        # https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
        fields, _, rest = line.partition(" - ")
        kind, *_, options = rest.split(" ")
        if kind in ("cgroup", "cgroup2"):
            top, point = map(_unescaped, fields.split(" ")[3:5])
            controllers = frozenset(options.split(",") if kind == "cgroup" else ())
            mounts.append(_Mount(top, root / point.lstrip("/"), controllers))
    return mounts


def _chain(path: str, mount: _Mount) -> list[Path]:
    """Return the folder of the group *path* and those above it, up to the mount's."""
    top = mount.top.rstrip("/")
    inside = path.removeprefix(top) if f"{path}/".startswith(f"{top}/") else path
    # A group outside of the namespace is shown with `..`, which must not lead out of the mount.
    parts = [part for part in inside.split("/") if part not in ("", "..")]
    # A container can have the host's path of its group, of which the mount shows only the end.
    while not mount.point.joinpath(*parts).is_dir() and parts:
        parts = parts[1:]
    return [mount.point.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _unescaped(text: str) -> str:
    """Return a path of mountinfo, which has octal numbers for spaces and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
