"""The energy that the processor has used, from the counters of RAPL (Linux's powercap).

A counter is that of a whole package, with everything that runs on it, and the system lets only root
read it by default. Virtual machines mostly have none. Source of the files: Linux, Documentation/
power/powercap/powercap.rst.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class _Package:
    """One counter: its folder, and the number of microjoules at which it starts from 0 again."""

    folder: Path
    range_uj: int

    def read_uj(self) -> int:
        return int((self.folder / "energy_uj").read_text())


class EnergyCounter:
    """
    The counters of all packages of processors together.

    Attributes:
        source: The counters, in words.
    """

    def __init__(self, packages: Sequence[_Package]) -> None:
        self._packages = packages
        count = len(packages)
        self.source = f"RAPL, {count} processor package{'s' if count > 1 else ''} as a whole"
        self._before = [package.read_uj() for package in packages]

    def joules(self) -> float:
        """
        Return the energy since the last call, or since the counter was opened.

        A counter that has started from 0 again is understood once: call this every few minutes.
        """
        now = [package.read_uj() for package in self._packages]
        used = sum(
            (after - before) % (package.range_uj + 1)
            for package, before, after in zip(self._packages, self._before, now, strict=True)
        )
        self._before = now
        return used / 1e6


def open_counter(root: Path = POWERCAP) -> EnergyCounter | None:
    """Return the counter of this machine; None if it has none, or this user may not read it."""
    packages = []
    for folder in sorted(root.glob("intel-rapl:*")):
        # intel-rapl:0 is a package; intel-rapl:0:0 is a part of it, such as its cores.
        if folder.name.count(":") > 1 or not (folder / "name").read_text().startswith("package"):
            continue
        packages.append(_Package(folder, int((folder / "max_energy_range_uj").read_text())))
    try:
        return EnergyCounter(packages) if packages else None
    except PermissionError:  # readable by root only, since CVE-2020-8694
        return None
