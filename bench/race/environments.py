"""One virtual environment for each server that is not ours."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from bench.race.servers import Server


def interpreter(server: type[Server], root: Path, console: Console) -> Path:
    """Python of *server*'s environment below *root*; installs what is not there yet."""
    if not server.requirements:
        return Path(sys.executable)
    folder = root / server.__name__.lower()
    python = folder / "bin" / "python"
    wanted = hashlib.sha256("\n".join(server.requirements).encode()).hexdigest()
    mark = folder / "installed"
    if not mark.exists() or mark.read_text() != wanted:
        console.print(f"{server.name}: installing {', '.join(server.requirements)}")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *server.requirements], check=True)
        mark.write_text(wanted)
    return python
