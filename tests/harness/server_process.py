"""A real server process for demonstrations, measurements and end-to-end tests."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

START_TIMEOUT_S = 60.0


class ServerProcess:
    """
    `convoy serve` on free ports. Use as a context manager: leaving it stops the server.

    Args:
        model_repository: Folder of artifacts, or its URL.
        options: Further flags.
        environment: Its variables; those of this process if they are not given.
        program: What Python is to run, other than convoy itself.
        python: The interpreter; the one of this process if it is not given.
        left_out: Messages of the log that are not kept, for a server that writes many of them.

    Attributes:
        log: Lines of the server's log, as objects.
        start_s: From the start of the process to its being ready, in seconds.
    """

    def __init__(
        self,
        model_repository: Path | str,
        *options: str,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "convoy"),
        python: Path | str = sys.executable,
        left_out: Container[str] = (),
    ) -> None:
        command = [str(python), *program, "serve", "--host", "127.0.0.1"]
        ports = ["--grpc-port", "0", "--http-port", "0"]
        quiet = ["--log-format", "json", "--graph-cache", ""]
        self.log: list[dict[str, object]] = []
        self._left_out = left_out
        self._ready = threading.Event()
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, *ports, *quiet, "--model-repository", str(model_repository), *options],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            process_group=0,  # Ctrl-C is for whoever started it, and who then stops it
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self._ready.wait(START_TIMEOUT_S)
        self.start_s = time.perf_counter() - started

    def __enter__(self) -> Self:
        if not self.find("ready"):
            self.kill()
            raise RuntimeError(f"the server did not become ready: {self.log}")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.stop()

    @property
    def address(self) -> str:
        """`host:port` of its gRPC port."""
        return f"127.0.0.1:{self.find('ready')[0]['grpc_port']}"

    @property
    def url(self) -> str:
        """The address of its HTTP port."""
        return f"http://127.0.0.1:{self.find('ready')[0]['http_port']}"

    def get(self, path: str) -> str:
        """Body of an HTTP answer."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def find(self, message: str) -> Sequence[dict[str, object]]:
        """Lines of the log with this message."""
        return [line for line in self.log if line["message"] == message]

    def stop(self, timeout_s: float = 60.0) -> int:
        """Ask the server to stop, as a person at a terminal would; returns its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Wait for its end; returns its exit code. Kills it if it does not end in time."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._reader.join()
        return code

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                try:
                    told = json.loads(line)
                except json.JSONDecodeError:
                    told = {"message": line.rstrip()}  # a native library's words
                if told["message"] not in self._left_out:
                    self.log.append(told)
                if told["message"] == "ready":
                    self._ready.set()
        self._ready.set()
