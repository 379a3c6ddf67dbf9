"""HAProxy with a shipped configuration, whose addresses are replaced by those of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from convoy import Client, ConvoyError
from tests.harness.process import Process, free_ports


@contextmanager
def haproxy(shipped: Path, replaced: Mapping[str, str], folder: Path) -> Iterator[str]:
    """
    Start HAProxy; gives its address once it answers.

    Args:
        shipped: The configuration.
        replaced: The addresses in it, all of which must be there, and those of this machine.
        folder: For the configuration and the log.
    """
    grpc_port, http_port = free_ports(2)
    text = shipped.read_text()
    own = {"bind :8001": f"bind 127.0.0.1:{grpc_port}", "bind :8000": f"bind 127.0.0.1:{http_port}"}
    for there, here in {**own, **replaced}.items():
        assert there in text, there
        text = text.replace(there, here)
    path = folder / "haproxy.cfg"
    path.write_text(text)
    process = Process(["haproxy", "-db", "-f", str(path)], folder / "haproxy.log")

    def answers() -> bool:
        with Client(f"127.0.0.1:{grpc_port}", timeout_s=1) as client, suppress(ConvoyError):
            return bool(client.models())
        return False

    process.wait_until(answers)
    try:
        yield f"127.0.0.1:{grpc_port}"
    finally:
        process.stop()
