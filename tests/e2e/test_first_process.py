"""The server as process 1, as in a container; the kernel signals it only where it has a handler."""

import asyncio
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.harness.server_process import ServerProcess

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""Begins a command that is process 1 of a namespace of its own."""

CODE = 128 + signal.SIGTERM


def _can_unshare() -> bool:
    tool = shutil.which("unshare")
    return bool(tool) and not subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode


pytestmark = pytest.mark.skipif(not _can_unshare(), reason="no right to make PID namespaces")


@pytest.mark.parametrize("module", ["convoy.commands.serve", "pydantic", "grpc", "onnxruntime"])
def test_signal_before_the_server_exists(module: str) -> None:
    """
    SIGTERM ends a server that is still importing its first modules, or its last ones.
    """
    program = (
        "import os, signal, sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            print('importing', flush=True)\n"
        "            os.kill(1, signal.SIGTERM)\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from convoy.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-c", program, "serve"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (CODE, "importing\n", "")


@pytest.mark.parametrize("fronts", ["0", "2"])
@pytest.mark.parametrize("signals", [1, 2])
async def test_signals_to_a_server(lenet_repository: Path, signals: int, fronts: str) -> None:
    """
    One signal stops a server in order; a second one ends it before its grace period is over.
    """
    unshare, *arguments = NAMESPACE
    grace = "60" if signals == 2 else "0"
    with ServerProcess(
        lenet_repository,
        *("--shutdown-grace-s", grace, "--front-processes", fronts),
        python=unshare,
        program=(*arguments, sys.executable, "-m", "convoy"),
    ) as server:
        (process,) = psutil.Process(server.process.pid).children()
        process.terminate()
        if signals == 2:
            async with asyncio.timeout(10):
                while not server.find("not ready, still serving"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            process.terminate()
        assert await asyncio.to_thread(server.wait, 10) == (CODE if signals == 2 else 0)
