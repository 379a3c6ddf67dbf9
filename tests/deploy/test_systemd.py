"""systemd runs the unit, in a container. Needs root."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import psutil
import pytest

from convoy import Client, ConvoyError
from tests.deploy.engines import PODMAN, ROOT, wait_until
from tests.deploy.images import NEEDS_PODMAN, SERVER, build, build_host
from tests.harness.images import png
from tests.harness.lenet import LENET
from tests.harness.process import free_ports

HOST = "convoy-test-host"
MODELS = "/var/lib/convoy/models"
GUIDE = ROOT / "docs/how-to/systemd.md"
SECRETS = re.compile(r'^```ini title="([^"]+)"\n(.*?)^```', re.DOTALL | re.MULTILINE)
DYNAMIC_USERS = range(61184, 65520)

pytestmark = [pytest.mark.timeout(1800), NEEDS_PODMAN]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The server of a host with systemd, which has a model."""
    build(SERVER)
    image = build_host()
    (port,) = free_ports(1)
    options = ["--detach", "--privileged", "--systemd=always", f"--publish=127.0.0.1:{port}:8001"]
    PODMAN.run("run", *options, f"--name={HOST}", image)
    try:
        wait_until(lambda: shown("ActiveState") == "active")
        PODMAN.run("exec", HOST, "mkdir", f"{MODELS}/lenet5")
        PODMAN.run("cp", LENET, f"{HOST}:{MODELS}/lenet5/1")
        wait_until(lambda: answers(f"127.0.0.1:{port}"))
        yield f"127.0.0.1:{port}"
    finally:
        PODMAN.run("rm", "--force", HOST)


def systemctl(*arguments: str) -> str:
    """The output of systemctl on the host."""
    return PODMAN.run("exec", HOST, "systemctl", *arguments)


def shown(name: str) -> str:
    """A property of the unit; empty while systemd starts."""
    with suppress(AssertionError):
        return systemctl("show", "convoy", f"--property={name}", "--value")
    return ""


def answers(address: str) -> bool:
    """True if the server classifies a photo."""
    with Client(address, timeout_s=5) as client, suppress(ConvoyError):
        return bool(client.classify(png(3), model="lenet5").predictions)
    return False


def messages() -> list[str]:
    """The messages that the server has logged."""
    journal = PODMAN.run("exec", HOST, "journalctl", "--unit=convoy", "--output=json")
    return [str(json.loads(line)["MESSAGE"]) for line in journal.splitlines()]


def server() -> psutil.Process:
    """The server's process, as this machine sees it."""
    host = psutil.Process(int(PODMAN.run("inspect", HOST, "--format={{.State.Pid}}")))
    (found,) = (
        process
        for process in host.children(recursive=True)
        if process.cmdline()[1:] == ["/opt/convoy/bin/convoy", "serve"]
    )
    return found


def test_runs_without_rights(address: str) -> None:
    """
    systemd waits for the server's report, and runs it as a user of its own with the unit's limits.
    """
    assert answers(address)
    assert (shown("Type"), shown("SubState")) == ("notify", "running")
    assert int(shown("MemoryMax")) == 4 * 2**30
    process = server()
    status = Path(f"/proc/{process.pid}/status").read_text().split("\n")
    values = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    assert process.uids().real in DYNAMIC_USERS
    assert int(values["CapEff"], 16) == 0
    assert values["NoNewPrivs"] == "1"
    assert values["Seccomp"] == "2"


def test_killed(address: str) -> None:
    """
    systemd starts a server that was killed again, with its models.
    """
    first, restarts = server(), int(shown("NRestarts"))
    first.kill()
    wait_until(lambda: shown("NRestarts") == str(restarts + 1))
    wait_until(lambda: answers(address))
    assert server().pid != first.pid


def test_keys_and_tokens(address: str) -> None:
    """
    systemd hands over files that only root can read, by the documented file.
    """
    path, content = SECRETS.findall(GUIDE.read_text())[0]
    script = f"""
        mkdir --parents /etc/convoy {Path(path).parent}
        cd /etc/convoy
        openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost \\
            -addext subjectAltName=IP:127.0.0.1 -keyout tls.key -out tls.crt 2>/dev/null
        /opt/convoy/bin/convoy token laptop infer --token-file tokens
        chmod 600 *
        printf '%s' "$1" > {path}
    """
    token = PODMAN.run("exec", HOST, "sh", "-euc", script, "sh", content)
    authority = PODMAN.run("exec", HOST, "cat", "/etc/convoy/tls.crt")
    try:
        systemctl("daemon-reload")
        systemctl("restart", "convoy")
        credentials = grpc.ssl_channel_credentials(authority.encode())
        with Client(address, credentials=credentials, token=token, timeout_s=30) as client:
            assert client.classify(png(3), model="lenet5").predictions
        assert not answers(address)
        process = server()
        for file in Path(f"/proc/{process.pid}/root/run/credentials/convoy.service").iterdir():
            assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (process.uids().real, 0o400)
    finally:
        PODMAN.run("exec", HOST, "rm", path)
        systemctl("daemon-reload")
        systemctl("restart", "convoy")


def test_stopped(address: str) -> None:
    """
    The server drains, and ends with 0.
    """
    systemctl("stop", "convoy")
    assert (shown("Result"), shown("ExecMainStatus")) == ("success", "0")
    assert any("not ready, still serving" in message for message in messages())
    systemctl("start", "convoy")
    wait_until(lambda: answers(address))
