"""A server, a Prometheus that scrapes it by the rules of deploy/, and some load: `make observe`.

Shows the metrics, the alerts and the queries of the dashboards without a Docker engine.
Needs Debian's package prometheus.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL import Image
from rich.console import Console

from convoy import Client, ConvoyError
from tests.harness.process import Process, free_ports
from tests.harness.server_process import ServerProcess

CONFIGURATION = Path(__file__).parents[1] / "deploy/prometheus"
REPOSITORIES = (Path("model_repository"), Path("tests/data/model_repository"))
THREADS = 4
PAUSE_S = 0.02

IMAGE_SIDE = 64
BAD_SHARE = 0.05
"""Share of the calls that carry no image, so that the panels of errors have data."""

console = Console(emoji=False, highlight=False)


class Prometheus:
    """
    A Prometheus that scrapes one server each second. A context manager.

    Args:
        server: `host:port` of its HTTP port.
        folder: A folder for its configuration, its data and its log.

    Attributes:
        url: The address of its page.

    Raises:
        FileNotFoundError: If Prometheus is not installed.
    """

    def __init__(self, server: str, folder: Path) -> None:
        binary = shutil.which("prometheus")
        if not binary:
            raise FileNotFoundError("prometheus is not installed: apt-get install prometheus")
        for name in ("rules.yml", "alerts.yml"):
            shutil.copy(CONFIGURATION / name, folder)
        text = (CONFIGURATION / "prometheus.yml").read_text()
        # The figures of a short run need more points than one each 5 s.
        text = text.replace("server:8000", server).replace("interval: 5s", "interval: 1s")
        (folder / "prometheus.yml").write_text(text)
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._process = Process(
            [
                binary,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            folder / "prometheus.log",
        )

    def __enter__(self) -> Self:
        self._process.wait_until(self._ready)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.stop()

    def get(self, path: str, **parameters: str) -> Any:
        """
        Call its API and return the data of the answer.

        Raises:
            urllib.error.HTTPError: If it refuses.
        """
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now; each result has `metric`, its labels, and `value`."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result

    def _ready(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=1):
            return True
        return False


class Load:
    """
    Threads that send images to all models of a server, and sometimes no image.

    A context manager; leaving it waits for their last answers.

    Args:
        pause_s: Pause between two calls of a thread, in seconds.
    """

    def __init__(self, address: str, threads: int = THREADS, pause_s: float = PAUSE_S) -> None:
        self._address = address
        self._pause_s = pause_s
        self._ends = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number,), name=f"load-{number}")
            for number in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, seed: int) -> None:
        source = random.Random(seed)
        noise = np.random.default_rng(seed).integers(0, 256, (IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, "PNG")
        image = buffer.getvalue()
        with Client(self._address) as client:
            models = [model.name for model in client.models()]
            while not self._ends.wait(self._pause_s):
                bad = source.random() < BAD_SHARE
                # Errors are intended: the server counts them, and its dashboards show them.
                with suppress(ConvoyError):
                    client.classify(b"no image" if bad else image, model=source.choice(models))


def main() -> int:
    """Start all, print the addresses, and stop all of it at the end."""
    parser = argparse.ArgumentParser(prog="python -m tools.observation", description=__doc__)
    usual = next((folder for folder in REPOSITORIES if folder.is_dir()), REPOSITORIES[0])
    parser.add_argument("--model-repository", type=Path, default=usual)
    parser.add_argument("--seconds", type=float, help="default: until Ctrl-C")
    arguments = parser.parse_args()
    try:
        _observe(arguments.model_repository, arguments.seconds or float("inf"))
    except (FileNotFoundError, RuntimeError) as error:
        console.print(f"error: {error}", style="red")
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
    return 0


def _observe(repository: Path, seconds: float) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="convoy-")))
        server = stack.enter_context(ServerProcess(repository))
        port = server.find("ready")[0]["http_port"]
        prometheus = stack.enter_context(Prometheus(f"127.0.0.1:{port}", folder))
        stack.enter_context(Load(server.address))
        console.print(f"server       grpc {server.address}, http://127.0.0.1:{port}/metrics")
        console.print(f"Prometheus   {prometheus.url}/graph, {prometheus.url}/alerts")
        console.print("Ctrl-C stops all of it.")
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(5.0, left))
            for result in prometheus.query("sum(rate(convoy_requests_total[1m]))"):
                console.print(f"{float(result['value'][1]):.0f} calls/s")


if __name__ == "__main__":
    sys.exit(main())
