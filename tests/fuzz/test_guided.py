"""The fuzzer starts, knows the corpus, and finds nothing in a few seconds."""

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.fuzz.seeds import IMAGE_KINDS, corpus


@pytest.mark.skipif(not find_spec("atheris"), reason="atheris is not installed")
@pytest.mark.parametrize("target", [*IMAGE_KINDS, "requests", "bodies"])
def test_short_run(target: str) -> None:
    """
    Some thousand inputs, guided by the code they reach, are refused or read.
    """
    command = [sys.executable, "-m", "tests.fuzz.guided", target, "-runs=5000", "-seed=1"]
    # Its bound is on the peak of the process, which on Linux begins with that of its parent: these
    # tests, which may have had networks in memory.
    command.append("-rss_limit_mb=0")
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]
    reached = re.search(r"INITED cov: (\d+)", done.stderr)
    assert reached is not None
    assert int(reached[1]) > 50  # lines and branches of ours, by the corpus alone
    assert len(corpus(target)) > 3
