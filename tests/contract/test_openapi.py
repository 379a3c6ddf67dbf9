"""The description of the HTTP routes: complete, and true of what the server answers."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from convoy.service.http.openapi import OPERATIONS, document
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.server_process import ServerProcess
from tests.security.entries import http_routes

UNDESCRIBED = {"Unsupported", "PageFiles"}
"""Routes that answer 501, and the pages' own files."""

CONFIGURATION = """
[checks]
# Not every rule of a tensor can be written as a schema.
positive_data_acceptance.enabled = false
# Answers to a client that gave the server too little time, or asks for what is not ready.
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 501, 503, 504]
"""


def test_every_route_is_described() -> None:
    """
    The description has every route of the application, and no other.
    """
    routes = {
        (route.template, route.verb.lower())
        for route in http_routes()
        if route.method not in UNDESCRIBED
        and route.verb != "HEAD"
        and not route.template.startswith("/page/")
    }
    described = {
        (path, verb)
        for path, operations in document("1")["paths"].items()
        for verb in operations
        if verb != "parameters"
    }
    assert described == routes
    assert all(one.summary.endswith(".") for path in OPERATIONS.values() for one in path.values())


@pytest.mark.timeout(180)
def test_answers_are_as_described(tmp_path: Path) -> None:
    """
    Generated requests, right and wrong ones, get answers of the stated status, type and schema.
    """
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    with ServerProcess(
        LENET_REPOSITORY, "--model-control-mode", "explicit", "--load-model", "*"
    ) as server:
        with urllib.request.urlopen(f"{server.url}/openapi.json") as answer:
            assert json.load(answer)["openapi"].startswith("3.1")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", str(configuration), "run", f"{server.url}/openapi.json"),
                *("--phases", "coverage,fuzzing", "--max-examples", "10", "--seed", "1"),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
