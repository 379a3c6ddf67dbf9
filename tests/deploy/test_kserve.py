"""An artifact under KServe: its initializer fetches it, and its clients query the server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from convoy.artifact.files import MODEL_FILE
from tests.deploy.emulators import EMULATORS, TOOLS
from tests.deploy.test_stores import upload
from tests.harness.lenet import LENET
from tests.harness.server_process import ServerProcess

RUNTIME = Path(__file__).parents[2] / "deploy/kubernetes/kserve/runtime.yaml"
CLIENT = Path(__file__).parent / "kserve_client.py"
NAME = "my-digits"

# The program of KServe's image storage-initializer.
INITIALIZER = "import sys; from kserve_storage import Storage; Storage.download(*sys.argv[1:])"

pytestmark = pytest.mark.timeout(300)


def run(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """The output of a Python program beside KServe's packages."""
    done = subprocess.run(
        [TOOLS / "python", *arguments],
        env={**os.environ, **(environment or {})},  # noqa: TID251
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("kind", ["s3", "gcs"])
def test_artifact_from_a_store(kind: str, tmp_path: Path) -> None:
    """
    The initializer fetches an artifact; a server with the runtime's arguments serves it to KServe's
    clients, over v2 and grpc-v2, under the name of the InferenceService.
    """
    mounted = tmp_path / "mnt/models"
    with EMULATORS[kind].started(tmp_path / "data") as store:
        upload(LENET, store, 1)
        uri = f"{store.url}/lenet5/1"
        run("-c", INITIALIZER, uri, mounted, environment=store.environment)
    assert (mounted / MODEL_FILE).is_file()
    with ServerProcess(mounted, *runtime_arguments()) as server:
        answers = run(CLIENT, NAME, server.address, server.url).splitlines()
    assert len(answers) == 2
    assert answers[0] == answers[1]
    assert answers[0].startswith(NAME)


def runtime_arguments() -> list[str]:
    """The arguments of the runtime that are not of the mounted folder."""
    (container,) = yaml.safe_load(RUNTIME.read_text())["spec"]["containers"]
    arguments = [argument.replace("{{.Name}}", NAME) for argument in container["args"]]
    assert arguments[:3] == ["serve", "--model-repository", "/mnt/models"]
    return arguments[3:]
