"""Code blocks of documents, and a folder in which they run as a reader would run them.

A block of `sh` or `python` runs, unless a comment before it says otherwise:

    <!-- not run: REASON -->    it cannot run here, or takes too long
    <!-- slow -->               it runs in the slow tests only
    <!-- fails: CODE -->        it ends with this exit code

A block after it with the title "Output" holds what it prints. Three dots stand for any text;
numbers with a fraction, times in microseconds and hashes may differ.

A block whose last line is `convoy serve ...` starts a server, which takes the place of the one
before. `localhost:8000` and `localhost:8001` reach it.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from markdown_it import MarkdownIt

from tests.harness.lenet import LENET_REPOSITORY

ROOT = Path(__file__).parents[2]
PROGRAMS = ("sh", "python")
"""Languages of blocks that run."""

DATA = ("haproxy", "ini", "json", "nginx", "proto", "text", "yaml")
"""Languages of blocks that do not."""

MARKS = re.compile(r"<!-- (?P<mark>not run|slow|fails)(?:: (?P<value>[^>]+))? -->")
START_TIMEOUT_S = 120.0
TIMEOUT_S = 300.0
SLOW_TIMEOUT_S = 800.0
# Readers need no address: their server has the default port. Other commands, such as evaluate, do
# something else if they get one.
_CONVOY = """convoy() {
    case $1 in
        bench|classify|models|promote|shadow) CONVOY_ADDRESS=localhost:8001 command convoy "$@" ;;
        *) command convoy "$@" ;;
    esac
}
"""
_SERVE = re.compile(r"(?:\S*/)?convoy serve\b[^|;&]*&?$")
_VARIABLE = re.compile(
    r"\d+\.\d+(?:e-?\d+)?"  # probabilities and durations
    r'|(?<=_us":)\d+'
    r"|\b[0-9a-f]{64}\b"
)


@dataclass(frozen=True, slots=True)
class Snippet:
    """
    A fenced block.

    Attributes:
        line: The line of its fence, from 1 on.
        marks: The marks before it, with their values.
        output: What it prints, or None if the document does not show it.
    """

    line: int
    language: str
    code: str
    marks: dict[str, str]
    output: str | None = None

    @property
    def runs(self) -> bool:
        """Return whether it is a program that can run here."""
        return self.language in PROGRAMS and "not run" not in self.marks


def read(page: Path) -> list[Snippet]:
    """
    Return the blocks of a document in their order.

    Raises:
        ValueError: If a block has no known language, or a mark or an output belongs to none.
    """
    found: list[Snippet] = []
    marks: dict[str, str] = {}
    for token in MarkdownIt().enable("table").parse(page.read_text()):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "html_block" and (new := dict(MARKS.findall(token.content))):
            marks |= new
            continue
        if token.type == "code_block":
            raise ValueError(f"{page}:{line}: write ```LANGUAGE instead of an indented block")
        if token.type == "fence":
            language, _, rest = token.info.partition(" ")
            if language not in PROGRAMS + DATA:
                raise ValueError(f"{page}:{line}: unknown language {language!r}")
            if 'title="Output"' in rest:
                found[-1:] = [_with_output(found[-1:], token.content, f"{page}:{line}")]
            else:
                found.append(Snippet(line, language, token.content, marks))
                marks = {}
        if marks and token.nesting >= 0:
            raise ValueError(f"{page}:{line}: no block follows the mark {marks}")
    return found


def _with_output(before: list[Snippet], output: str, place: str) -> Snippet:
    if not before or before[0].language not in PROGRAMS or before[0].output is not None:
        raise ValueError(f"{place}: the output follows no program")
    return dataclasses.replace(before[0], output=output)


def matches(expected: str, actual: str) -> bool:
    """Return whether *actual* is what a document shows."""
    parts = [re.escape(_stable(part)) for part in expected.split("...")]
    return re.fullmatch(".*".join(parts), _stable(actual)) is not None


def _stable(text: str) -> str:
    # White space may differ: documents wrap JSON for readers.
    packed = re.sub(r"\s+", " ", text).strip()
    packed = re.sub(r"(?<=[\[{:,]) | (?=[\]}])", "", packed)
    return _VARIABLE.sub("#", packed)


class Reader:
    """
    A folder that looks like a checkout, and a server in it. Use as a context manager.

    The folder holds links to the files of the repository, and a model repository of its own with
    a LeNet-5.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, str] = {}
        for path in ROOT.iterdir():
            if path.name not in {"build", "data", "model_repository", "runs", ".git", ".venv"}:
                (folder / path.name).symlink_to(path)
        (folder / ".venv").symlink_to(sys.prefix)
        shutil.copytree(LENET_REPOSITORY, folder / "model_repository")

    def __enter__(self) -> Self:
        self._serve("convoy serve")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def run(self, snippet: Snippet) -> None:
        """Run one program and compare what it prints; raise `AssertionError` if it differs."""
        lines = snippet.code.strip().splitlines()
        if snippet.language == "sh" and _SERVE.match(lines[-1].partition(" #")[0].strip()):
            if lines[:-1]:
                self.run(dataclasses.replace(snippet, code="\n".join(lines[:-1])))
            self._serve(lines[-1].partition(" #")[0].strip().removesuffix("&"))
            return
        seconds = SLOW_TIMEOUT_S if "slow" in snippet.marks else TIMEOUT_S
        done = self._execute(snippet.language, snippet.code, seconds)
        assert done.returncode == int(snippet.marks.get("fails", 0)), f"{done.stdout}{done.stderr}"
        if snippet.output is not None:
            printed = done.stdout + (done.stderr if done.returncode else "")
            assert matches(snippet.output, printed), f"shown:\n{snippet.output}\nis:\n{printed}"

    def _execute(
        self, language: str, code: str, timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        if language == "sh":
            code = _CONVOY + code
        for port, actual in self._ports.items():
            code = code.replace(f"localhost:{port}", f"localhost:{actual}")
        program = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else ["python", "-c"]
        return subprocess.run(
            [*program, code],
            cwd=self._folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def _serve(self, command: str) -> None:
        """Start a server in place of the one before, and wait until it is ready."""
        self._stop()
        self._ports = dict(zip(("8000", "8001", "8002"), map(str, _free_ports(3)), strict=True))
        log = self._folder / "server.log"
        with log.open("w") as errors:
            self._server = subprocess.Popen(
                ["bash", "-c", f"exec {command.replace('8002', self._ports['8002'])}"],
                cwd=self._folder,
                env=self._environment(),
                stderr=errors,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        try:
            while '"ready"' not in log.read_text():
                assert self._server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        except BaseException:  # the time limit of the test included: leave no server behind
            self._stop()
            raise

    def _stop(self) -> None:
        if self._server:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(START_TIMEOUT_S)

    def _environment(self) -> dict[str, str]:
        inherited = {**os.environ}  # noqa: TID251 - programs of the machine need it
        ports = {
            "CONVOY_HTTP_PORT": self._ports["8000"],
            "CONVOY_GRPC_PORT": self._ports["8001"],
        }
        path = f"{sys.prefix}/bin:{inherited['PATH']}"
        return {
            **inherited,
            **ports,
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "HOME": str(self._folder),
            "COLUMNS": "80",
        }


def _free_ports(count: int) -> Iterator[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    for one in sockets:
        yield one.getsockname()[1]
        one.close()
