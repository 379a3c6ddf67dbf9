"""Rules, alerts and dashboards, on a real Prometheus that scrapes a real server under load.

Needs Debian's package prometheus; skipped where it is missing.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from convoy.artifact.baseline import Baseline, histograms, write_baseline
from convoy.artifact.files import read_manifest
from convoy.service.machine.resources import memory_bytes
from convoy.service.telemetry.gpu import GpuFacts
from convoy.service.telemetry.metrics import Metrics
from tests.harness import machine
from tests.harness.lenet import LENET_REPOSITORY, add_version
from tests.harness.server_process import ServerProcess
from tools.grafana.board import Board, Panel, Query
from tools.grafana.boards import BOARDS
from tools.grafana.expressions import chosen
from tools.grafana.overview_board import OVERVIEW
from tools.observation import Load, Prometheus

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/prometheus"

pytestmark = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="prometheus is not installed: apt-get install prometheus"
)

QUERIES = [
    pytest.param(board, panel, query, id=f"{board.uid}-{panel.title}-{place}".replace(" ", "-"))
    for board in BOARDS
    for panels in board.rows.values()
    for panel in panels
    for place, query in enumerate(panel.queries)
]

HEADROOM = "instance:convoy_memory_headroom:ratio"
"""Recorded where memory has a limit."""

PATIENCE_S = 60.0
"""Rates of a minute need two values, and rules that rest on rules come after them."""


def promtool(*arguments: str) -> str:
    """Output of a command of Prometheus' own tool."""
    done = subprocess.run(
        ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules(name: str) -> list[dict[str, Any]]:
    """Every rule of a file."""
    groups = yaml.safe_load((FOLDER / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule["alert"] for rule in rules("alerts.yml")]


def test_configuration_is_valid() -> None:
    """
    Prometheus' own tool finds nothing wrong.
    """
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")


def test_alerts() -> None:
    """
    Every alert fires when it should, with the right labels and words, and not when it should not.
    """
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(ALERTS)
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == set(ALERTS)


@pytest.mark.parametrize("panel", OVERVIEW.rows["Now"], ids=lambda panel: panel.title)
def test_numbers_without_calls(panel: Panel, tmp_path: Path) -> None:
    """
    The numbers of a server that nobody calls are numbers, or there are none.
    """
    names = ("requests_total", "request_duration_seconds_bucket", "transport_wait_seconds_bucket")
    series = [f'convoy_{name}{{model="m", code="OK", le="1"}}' for name in names]
    inputs = [{"series": one, "values": "7+0x40"} for one in series]
    # A comparison with itself finds NaN, which equals nothing.
    expression = chosen(panel.queries[0].expr)
    case = {"expr": f"({expression}) != ({expression})", "eval_time": "5m", "exp_samples": []}
    tests = [{"interval": "15s", "input_series": inputs, "promql_expr_test": [case]}]
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", str(file))


def test_observe() -> None:
    """
    `make observe` prints the addresses, shows calls, and leaves no process running.
    """
    command = [sys.executable, "-m", "tools.observation", "--seconds", "12"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as observed:
        assert observed.stdout is not None
        lines = [observed.stdout.readline() for _ in range(3)]
        started = psutil.Process(observed.pid).children(recursive=True)
        rest = observed.stdout.read()
    assert observed.returncode == 0
    assert [line.split()[0] for line in lines] == ["server", "Prometheus", "Ctrl-C"]
    assert re.search(r"^[1-9]\d* calls/s$", rest, re.MULTILINE)
    assert {process.name() for process in started if process.is_running()} == set()
    assert len(started) >= 2


@pytest.mark.parametrize("alert", rules("alerts.yml"), ids=ALERTS)
def test_runbook(alert: dict[str, Any]) -> None:
    """
    Every alert links to its own section of the runbook.
    """
    link, anchor = alert["annotations"]["runbook_url"].split("#")
    page = re.sub(r"^https://docs\.example\.com/convoy/(.+)\.html$", r"docs/\1.md", link)
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
    assert alert["labels"]["severity"] in {"critical", "warning"}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has watched a server under load for a while."""
    folder, models = tmp_path_factory.mktemp("prometheus"), tmp_path_factory.mktemp("models")
    shutil.copytree(LENET_REPOSITORY, models, dirs_exist_ok=True)
    lenet = models / "lenet5" / "1"
    write_baseline(lenet, _baseline(read_manifest(lenet).model_sha256))
    add_version(models, "lenet5")
    options = ("--model-control-mode", "explicit", "--load-model", "*")
    policy = ("--version-policy", "lenet5=specific:1")
    with ServerProcess(models, "--drift", *options, *policy) as server:
        _start_shadow(server)
        target = f"127.0.0.1:{server.find('ready')[0]['http_port']}"
        with Prometheus(target, folder) as prometheus, Load(server.address):
            recorded = {rule["record"] for rule in rules("rules.yml")}
            wait_for(prometheus, *(recorded - {HEADROOM}))
            yield prometheus


def _start_shadow(server: ServerProcess) -> None:
    """Compare version 2 with version 1 on every request."""
    body = json.dumps({"version": 2, "share": 1}).encode()
    request = urllib.request.Request(f"{server.url}/v1/models/lenet5/shadow/start", body)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def _baseline(model_sha256: str) -> Baseline:
    """Return a baseline that no image differs from: all classes are rare, and share a bin."""
    return Baseline(
        model_sha256=model_sha256,
        data="digits",
        data_sha256="0" * 64,
        images=1000,
        signals=histograms({"class": np.arange(1000)}),
        made_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def wait_for(prometheus: Prometheus, *recorded: str) -> None:
    """Wait until these rules have data, or for as long as they should have taken."""
    missing = set(recorded)
    ends = time.monotonic() + PATIENCE_S
    while missing and time.monotonic() < ends:
        missing = {name for name in missing if not prometheus.query(name)}
        time.sleep(0.5)


def test_rules_have_data(prometheus: Prometheus) -> None:
    """
    Every rule is evaluated without an error, and what is recorded is there.
    """
    groups = prometheus.get("rules")["groups"]
    evaluated = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert {rule["health"] for rule in evaluated.values()} == {"ok"}
    for rule in rules("rules.yml"):
        if rule["record"] == HEADROOM and not _is_limited(prometheus):
            continue
        assert prometheus.query(rule["record"]), rule["record"]
    assert {alert for alert in ALERTS if alert in evaluated} == set(ALERTS)


def test_no_alert_of_a_healthy_server(prometheus: Prometheus) -> None:
    """
    Some wrong requests raise no alert, nor does a machine without a GPU.
    """
    pending = {alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]}
    assert pending == set()


@pytest.fixture(scope="module")
def larger_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that watches our metrics of a GPU and of a limit of memory."""
    memory = (("current", 3 << 30), ("peak", 3 << 30), ("max", 4 << 30))
    files = {f"memory.{name}": str(value) for name, value in memory}
    files["memory.stat"] = f"inactive_file {1 << 30}\n"
    root = machine.write(tmp_path_factory.mktemp("machine"), "0::/\n", files)
    registry = CollectorRegistry()
    Metrics(registry).watch_gpus(lambda: [GpuFacts("GPU-1", 70 << 30, 80 << 30, 0.9)])
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(
            "convoy.service.telemetry.metrics.memory_bytes", partial(memory_bytes, root=root)
        )
        server, thread = start_http_server(0, "127.0.0.1", registry)
        stack.callback(thread.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        folder = tmp_path_factory.mktemp("prometheus")
        with Prometheus(f"127.0.0.1:{server.server_port}", folder) as prometheus:
            wait_for(prometheus, HEADROOM)
            yield prometheus


@pytest.mark.parametrize(("board", "panel", "query"), QUERIES)
def test_panel(request: pytest.FixtureRequest, board: Board, panel: Panel, query: Query) -> None:
    """
    The query of each panel returns numbers, with the labels that its legend names.
    """
    if query.needs == "dcgm":
        pytest.skip("NVIDIA's exporter is not here")
    prometheus = request.getfixturevalue("larger_machine" if query.needs else "prometheus")
    assert "$model" not in query.expr or board.by_model
    results = prometheus.query(chosen(query.expr, model="lenet5"))
    assert results
    assert panel.about
    for result in results:
        assert re.fullmatch(r"[-+0-9.e]+", result["value"][1]), result
        labels = set(re.findall(r"{{(\w+)}}", query.legend))
        assert labels <= result["metric"].keys()
    if not query.legend and panel.kind != "table":
        assert len(results) == 1
    names = {tuple(sorted(result["metric"].items())) for result in results}
    assert len(names) == len(results)


def _is_limited(prometheus: Prometheus) -> bool:
    return bool(prometheus.query('convoy_memory_bytes{kind="cgroup_limit"}'))
