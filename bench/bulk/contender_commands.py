"""A contender as a command, with its time and memory."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from bench.bulk.bulk_collections import write_images
from bench.bulk.bulk_rows import Contender
from tests.harness.server_process import ServerProcess

_PACKAGES = {"dask": "distributed", "ray": "ray"}


class Taken(NamedTuple):
    """
    The time and the memory of a command.

    Attributes:
        cpu_s: Processor seconds of the command and of the processes that it waited for; a server's,
            and those that an engine leaves behind, are not among them.
        peak_mb: Largest resident memory of one of these processes, in MiB; at least that of the
            benchmark itself, which a process begins with.
    """

    seconds: float
    cpu_s: float
    peak_mb: float


def is_installed(contender: Contender) -> bool:
    """Return whether the package of a contender's engine is there."""
    package = _PACKAGES.get(contender.name)
    return package is None or find_spec(package) is not None


def measure(contender: Contender, root: Path, model: str, folder: Path) -> Taken:
    """Label a collection, which is written to *folder* first; remove the labels."""
    photos = folder / f"{model}-{contender.images}.parquet"
    if not photos.exists():
        write_images(photos, contender.images, digits=model == "lenet5")
    labels = folder / "labels"
    with ExitStack() as stack:
        command = _command(contender, root, model, photos, labels)
        if contender.name == "server":
            options = ["--model-control-mode", "explicit", "--load-model", model]
            command.append(stack.enter_context(ServerProcess(root, *options)).address)
        with _limited(contender.workers):
            taken = _run(command, folder)
    shutil.rmtree(labels) if labels.is_dir() else labels.unlink()
    return taken


@contextmanager
def _limited(processors: int) -> Iterator[None]:
    """Let processes that start in the block use so many processors; all of them if 0."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(usable)[: processors or None])
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)


def _command(contender: Contender, root: Path, model: str, photos: Path, labels: Path) -> list[str]:
    workers = str(contender.workers)
    if contender.name == "plain":
        artifact = str(root / model / "1")
        return ["-m", "bench.bulk.plain_loop", artifact, str(photos), str(labels), workers]
    command = ["-m", "convoy", "bulk", model, str(photos), "--to", str(labels)]
    if contender.name == "server":
        return [*command, "--server"]
    command += ["--model-repository", str(root), "--workers", workers]
    return command if contender.name == "local" else [*command, "--engine", contender.name]


def _environment() -> dict[str, str]:
    """Return an environment that keeps compiled modules, as an installation by pip has them."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # noqa: TID251


def _run(command: list[str], folder: Path) -> Taken:
    started = time.perf_counter()
    log = str(folder / "log")
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, *command],
        _environment(),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    _, status, usage = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} failed: {Path(log).read_text()}")
    seconds = time.perf_counter() - started
    return Taken(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
