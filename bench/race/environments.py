"""One virtual environment for each server that is not ours."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.race.contender import Contender


def interpreter(kind: type[Contender], root: Path, console: Console) -> Path:
    """Return the Python of *kind*'s environment below *root*; install what is missing there."""
    if not kind.requirements:
        return Path(sys.executable)
    # A subclass that needs nothing more shares the environment of its base.
    owner = next(one for one in kind.__mro__ if "requirements" in vars(one))
    return install(owner.__name__.lower(), kind.requirements, root, console)


def install(name: str, requirements: Sequence[str], root: Path, console: Console) -> Path:
    """Return the Python of the environment *name* below *root*, with *requirements* of pip's."""
    folder = root / name
    python = folder / "bin" / "python"
    wanted = hashlib.sha256("\n".join(requirements).encode()).hexdigest()
    # The mark is written last: an installation that is interrupted, or outdated, is done again.
    mark = folder / "installed"
    if not mark.exists() or mark.read_text() != wanted:
        console.print(f"{name}: installing {' '.join(requirements)}")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *requirements], check=True)
        mark.write_text(wanted)
    return python
