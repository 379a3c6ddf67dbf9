"""Runs the kit against a convoy server of this checkout: `make conformance`.

The one file here that knows convoy, and no part of the kit: it runs in convoy's environment, which
starts the server, and starts the kit in the kit's own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.harness import tiny
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.server_process import ServerProcess

SLOW_REPEATS = 60
"""Products of 256x256 matrices in a run of the slow model: 10 to 30 ms."""

CONTROL = ("--model-control-mode", "explicit", "--load-model", "*")


def main(kit: list[str]) -> int:
    """Run the command *kit* with the addresses of a server; returns its exit code, or 1."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "model_repository"
        shutil.copytree(LENET_REPOSITORY, repository)
        slow = tiny.graph(repeats=SLOW_REPEATS)
        tiny.write(repository, "slow", model=slow, macs=SLOW_REPEATS * 256**3, max_batch_size=1)
        with ServerProcess(repository, *CONTROL) as server:
            http = f"127.0.0.1:{server.find('ready')[0]['http_port']}"
            options = [
                f"--grpc={server.address}",
                f"--http={http}",
                "--model=lenet5",
                "--slow=slow",
            ]
            code = subprocess.run([*kit, *options, "--no-skips"], check=False).returncode
            stopped = server.stop()
    for line in server.find("internal error"):
        print(line.get("traceback", line))
    return code or stopped or bool(server.find("internal error"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
