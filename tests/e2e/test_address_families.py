"""The server on machines that have only one family of addresses."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.harness.server_process import ServerProcess
from tests.harness.transports import TRANSPORTS

NETWORK = ("unshare", "--net", "sh", "-c")
"""Begins a command in a network of its own; its shell sets the addresses."""

IPV6_ONLY = "ip link set lo up && ip addr del 127.0.0.1/8 dev lo"
IPV4_ONLY = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 && ip link set lo up"

# A filter as systemd's RestrictAddressFamilies=AF_INET AF_UNIX sets it: socket(AF_INET6) fails with
# EAFNOSUPPORT, as it does where the kernel has no IPv6.
WITHOUT_IPV6 = """
import ctypes, errno, os, struct, sys
LOAD, EQUAL, RETURN, NEXT = 0x20, 0x15, 0x06, 0
ALLOW, FAIL = 0x7FFF0000, 0x00050000 | errno.EAFNOSUPPORT
SOCKET, AF_INET6 = 41, 10
program = [
    (LOAD, 0, 0, 0), (EQUAL, 0, 3, SOCKET),
    (LOAD, 0, 0, 16), (EQUAL, 0, 1, AF_INET6),
    (RETURN, 0, 0, FAIL), (RETURN, 0, 0, ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
header = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
for arguments in ((38, 1, 0, 0, 0), (22, 2, header)):  # no new privileges, then the filter
    if libc.prctl(*arguments):
        raise OSError(ctypes.get_errno(), "prctl")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def need(setup: str) -> None:
    """Skip the test if this machine has no right to make such a network."""
    if not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("no unshare, or no ip")
    if subprocess.run([*NETWORK, setup], capture_output=True).returncode:
        pytest.skip("no right to make networks, or no IPv6")


def assert_served(server: ServerProcess, host: str) -> None:
    """Ask *server* over both protocols, from within its network."""
    process = psutil.Process(server.process.pid)
    (ready,) = server.find("ready")
    inside = ["nsenter", "--net", "--target", str(process.pid), sys.executable, "-m"]
    probe = subprocess.run(
        [*inside, "convoy.service.http.probe", str(ready["http_port"])],
        capture_output=True,
        text=True,
    )
    assert (probe.returncode, probe.stderr) == (0, "")
    for port in (ready["grpc_port"], ready["control_port"]):
        models = subprocess.run(
            [*inside, "convoy", "models", "--address", f"{host}:{port}"],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert models.returncode == 0, models.stderr
        assert "lenet5" in models.stdout


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("setup", "host"), [(IPV6_ONLY, "[::1]"), (IPV4_ONLY, "127.0.0.1")], ids=["IPv6", "IPv4"]
)
def test_network_of_one_family(
    lenet_repository: Path, transport: str, setup: str, host: str
) -> None:
    """
    Without --host, a server is reached on a machine that has only addresses of one family.
    """
    need(setup)
    first, *others = NETWORK
    options = (
        *("--host", "", "--transport", transport, "--allow-unbounded-messages"),
        *("--control-port", "0"),
    )
    command = f'{setup} && exec "$@"'
    with ServerProcess(
        lenet_repository,
        *options,
        python=shutil.which(first) or first,
        program=(*others, command, "sh", sys.executable, "-m", "convoy"),
    ) as server:
        assert_served(server, host)


X86 = platform.machine() == "x86_64" and sys.platform == "linux"


@pytest.mark.skipif(not X86, reason="the filter is made of system calls of Linux on x86-64")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("host", ["", "localhost"])
def test_kernel_without_ipv6(lenet_repository: Path, transport: str, host: str) -> None:
    """
    A server listens on IPv4 if the kernel refuses sockets of IPv6.
    """
    with ServerProcess(
        lenet_repository,
        *("--host", host, "--transport", transport, "--allow-unbounded-messages"),
        *("--control-port", "0"),
        program=("-c", WITHOUT_IPV6, "-m", "convoy"),
    ) as server:
        assert_served(server, "127.0.0.1")


@pytest.mark.skipif(not X86, reason="the filter is made of system calls of Linux on x86-64")
def test_ipv6_that_is_not_there(lenet_repository: Path) -> None:
    """
    An address of IPv6 on a machine without is one line with the remedy.
    """
    serve = ["-c", WITHOUT_IPV6, "-m", "convoy", "serve", "--host", "::"]
    done = subprocess.run(
        [sys.executable, *serve, "--model-repository", str(lenet_repository)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.defpath},
    )
    assert done.returncode == 1
    assert "use --host 0.0.0.0" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
