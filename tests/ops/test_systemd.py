"""The unit of systemd, and what the server reports to it; no systemd has to run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from convoy.service.machine.supervisor import notify
from convoy.service.settings import Settings
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.server_process import ServerProcess

UNIT = Path(__file__).parents[2] / "deploy/systemd/convoy.service"
PROGRAM = "/opt/convoy/bin/convoy"
FLAGS = re.DOTALL | re.MULTILINE

MAX_EXPOSURE = 20
"""In tenths, of `systemd-analyze security`; 100 is a unit without any restriction."""

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed"
)


def values(name: str) -> list[str]:
    """The values of an option of the unit."""
    lines = (line.partition("=") for line in UNIT.read_text().splitlines())
    return [value for option, _, value in lines if option == name]


@pytest.mark.parametrize("is_abstract", [False, True], ids=["file", "abstract"])
def test_reports_to_the_supervisor(tmp_path: Path, is_abstract: bool) -> None:
    """
    The server reports that it is ready when it serves, and that it stops when the drain begins.
    """
    path = f"@convoy-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(path.replace("@", "\0") if is_abstract else path)
        supervisor.settimeout(60)
        environment = dict(os.environ, NOTIFY_SOCKET=path)  # noqa: TID251
        with ServerProcess(
            LENET_REPOSITORY, "--shutdown-grace-s", "1", environment=environment
        ) as server:
            assert supervisor.recv(100) == b"READY=1"
            server.get("/v2/health/ready")
            server.process.send_signal(signal.SIGTERM)
            assert supervisor.recv(100) == b"STOPPING=1"
            assert server.process.poll() is None
            assert server.wait() == 0


def test_a_supervisor_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """
    The server goes on without its supervisor, and says so; without a variable it says nothing.
    """
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    assert not caplog.records
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")
    assert "cannot notify the supervisor" in caplog.text


def test_settings() -> None:
    """
    Each variable is a setting, and the drain ends before the process is killed.
    """
    names = [value.partition("=")[0] for value in values("Environment")]
    ours = [name.removeprefix("CONVOY_").lower() for name in names if name.startswith("CONVOY_")]
    assert ours
    assert set(ours) <= set(Settings.model_fields)
    usual = Settings()
    (stop,) = values("TimeoutStopSec")
    assert usual.shutdown_grace_s + usual.shutdown_timeout_s < float(stop)


@needs_systemd
def test_valid(tmp_path: Path) -> None:
    """
    systemd knows every option of the unit.
    """
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(PROGRAM, sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_documented_secrets(tmp_path: Path) -> None:
    """
    systemd knows every option of the documented file of secrets, and each variable is a setting.
    """
    text = (UNIT.parents[2] / "docs/how-to/systemd.md").read_text()
    path, content = re.findall(r'^```ini title="([^"]+)"\n(.*?)^```', text, FLAGS)[0]
    loaded = set(re.findall(r"^LoadCredential=([^:]+):/etc/convoy/", content, re.MULTILINE))
    named = dict(re.findall(r"^Environment=CONVOY_(\w+)=%d/(.+)$", content, re.MULTILINE))
    assert set(named.values()) == loaded
    assert {name.lower() for name in named} <= set(Settings.model_fields)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(PROGRAM, sys.executable))
    added = tmp_path / Path(path).relative_to("/etc/systemd/system")
    added.parent.mkdir()
    added.write_text(content)
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_sandbox() -> None:
    """
    systemd rates the sandbox as tight.
    """
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MAX_EXPOSURE}"]
    done = subprocess.run([*command, str(UNIT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
