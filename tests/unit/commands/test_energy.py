from pathlib import Path

import pytest

from convoy.commands.measurement.energy import open_counter


def add(root: Path, folder: str, name: str, energy_uj: int, range_uj: int = 999_999_999) -> Path:
    """Write a counter as Linux shows it in /sys/class/powercap; return the file of its energy."""
    place = root / folder
    place.mkdir()
    (place / "name").write_text(f"{name}\n")
    (place / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (place / "energy_uj").write_text(f"{energy_uj}\n")
    return place / "energy_uj"


def test_packages_are_added(tmp_path: Path) -> None:
    """
    The energy is that of all packages; their parts, and the platform with its memory, are left out.
    """
    first = add(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    add(tmp_path, "intel-rapl:0:0", "core", 500_000)
    second = add(tmp_path, "intel-rapl:1", "package-1", 2_000_000)
    add(tmp_path, "intel-rapl:2", "psys", 5_000_000)
    counter = open_counter(tmp_path)
    assert counter
    assert counter.source == "RAPL, 2 processor packages as a whole"
    first.write_text("2500000\n")
    second.write_text("2500000\n")
    assert counter.joules() == pytest.approx(2.0)
    assert counter.joules() == 0


def test_counter_starts_again(tmp_path: Path) -> None:
    """
    A counter that has passed its range goes on from 0.
    """
    energy = add(tmp_path, "intel-rapl:0", "package-0", 999_000_000)
    counter = open_counter(tmp_path)
    assert counter
    energy.write_text("1000000\n")
    assert counter.joules() == pytest.approx(2.0)


def test_no_counter(tmp_path: Path) -> None:
    """
    A machine without counters has no power, as most virtual ones.
    """
    assert open_counter(tmp_path) is None
    assert open_counter(tmp_path / "missing") is None
