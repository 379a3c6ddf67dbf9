"""Trees of `/proc` and `/sys/fs/cgroup`, as machines of several kinds have them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

VERSION_2 = {"/sys/fs/cgroup": "/ cgroup2 rw"}
"""The mount of most machines: by its folder the group at its top, its type and its options."""


def write(
    root: Path,
    groups: str,
    files: Mapping[str, str],
    mounts: Mapping[str, str] = VERSION_2,
) -> Path:
    """
    Write a tree, and return its root.

    Args:
        groups: Text of `/proc/self/cgroup`.
        files: Texts of files in `/sys/fs/cgroup`, by their paths in it.
        mounts: As `VERSION_2`.
    """
    process = root / "proc/self"
    process.mkdir(parents=True)
    (process / "cgroup").write_text(groups)
    (process / "status").write_text("Name:\tpython\nVmHWM:\t   200 kB\nVmRSS:\t   100 kB\n")
    lines = ["23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw"]
    for number, (point, mount) in enumerate(mounts.items(), start=31):
        top, kind, options = mount.split(" ")
        lines.append(f"{number} 23 0:{number} {top} {point} rw,nosuid - {kind} {kind} {options}")
    (process / "mountinfo").write_text("\n".join(lines) + "\n")
    for path, text in files.items():
        file = root / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root
