"""`make flywheel` turns once, and the page shows its commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/how-to/flywheel.md"
SECONDS = 900


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 30)
def test_flywheel(tmp_path: Path) -> None:
    """
    Drift shows the new camera, and the version that was taught its images is better on them.
    """
    command = [sys.executable, "-m", "tools.flywheel", "--folder", str(tmp_path / "wheel")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "wheel/flywheel.json").read_text())
    points, changed = found["points"], found["changes"]["the camera changes"]
    plain = [point for point in points if point["images"] <= changed]
    drifted = [point for point in points if point["version"] == 1 and point not in plain]
    better = [point for point in points if point["version"] == 2]
    assert max(point["drift"] or 0 for point in plain) < 0.1
    assert drifted[-1]["drift"] > 0.2 > better[-1]["drift"]
    before, during, after = (
        sum(point["accuracy"] for point in some) / len(some) for some in (plain, drifted, better)
    )
    assert during + 0.2 < after < before
    assert "agreement" in done.stderr  # the reason of the refusal
    shown = re.findall(r"^convoy .*", PAGE.read_text(), re.MULTILINE)
    run = re.findall(r"^\$ (convoy .*)", done.stdout, re.MULTILINE)
    assert shown == run
