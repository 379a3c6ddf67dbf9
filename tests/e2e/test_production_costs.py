"""The costs of the parts for production are measured by one command."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_table() -> None:
    """
    Each part gets a row with two ratios and their quartiles, and no server fails.
    """
    command = [sys.executable, "-m", "bench.production_costs", "--rounds", "2", "--seconds", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    ratio = r"\d+\.\d{3} \(\d+\.\d{3}-\d+\.\d{3}\)"
    rows = re.findall(rf"^\| (.*) \| {ratio} \| {ratio} \|$", done.stdout, re.MULTILINE)
    assert len(rows) == 7
