"""A server that is not convoy: a process with its children, their CPU time and their memory."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from random import SystemRandom
from types import MappingProxyType

import psutil

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0

PORTS = range(20_000, 32_000)
"""Ports below those that Linux gives to connections, and to servers that let it choose (32768)."""


def free_ports(count: int) -> list[int]:
    """Return ports on which no process listens now, and which no connection gets by chance."""
    # Not `random`, whose seed is the same in each process of pytest.
    candidates = SystemRandom().sample(PORTS, len(PORTS))
    return list(islice(filter(_is_free, candidates), count))


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


class Process:
    """
    A command in a process group of its own, with its output in *log*.

    Args:
        environment: Variables beside those of this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._log = log
        with log.open("w") as output:
            self._process = subprocess.Popen(
                ["env", *(f"{name}={value}" for name, value in environment.items()), *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=folder,
                start_new_session=True,
            )

    def wait_until(self, answers: Callable[[], bool]) -> None:
        """
        Wait until the server answers.

        Raises:
            RuntimeError: If it ends before, or takes too long.
        """
        ends = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < ends:
            if self._process.poll() is not None:
                break
            if answers():
                return
            time.sleep(0.1)
        output = self._log.read_text()[-2000:]
        self.stop()
        raise RuntimeError(f"{self._process.args!r} does not answer: {output}")

    def stop(self) -> None:
        """End the group with SIGTERM, and with SIGKILL if it does not end in time."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                break
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                continue

    def cpu_s(self) -> float:
        """CPU that it and its children have used, in seconds."""
        return sum(sum(process.cpu_times()[:2]) for process in self._all())

    def memory_bytes(self) -> int:
        """Their memory, pages that they share counted once."""
        return sum(process.memory_full_info().pss for process in self._all())

    def _all(self) -> list[psutil.Process]:
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]
