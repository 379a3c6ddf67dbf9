"""The memory of the server that is attacked, at its highest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.security.target import Target


@contextmanager
def bounded_growth(target: Target, most_bytes: int) -> Iterator[None]:
    """Check that the process never grows by more; without a check for a server that is given."""
    if target.process is None:
        yield
        return
    process = Path(f"/proc/{target.process.process.pid}")
    (process / "clear_refs").write_text("5")  # forgets the peak
    before = _peak_bytes(process)
    yield
    assert _peak_bytes(process) - before < most_bytes


def _peak_bytes(process: Path) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
    assert found
    return 1024 * int(found[1])
