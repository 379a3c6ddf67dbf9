"""Which server is checked, what is skipped for it, and the table at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tritonclient.utils import InferenceServerException

from tests.conformance.target import Target, code_of

GROUPS = pytest.StashKey[dict[str, str]]()
TARGET = pytest.StashKey[Target]()

OUTCOMES = {"passed": "passed", "failed": "failed", "error": "failed", "skipped": "skipped"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say where the server is."""
    group = parser.getgroup("conformance")
    group.addoption("--grpc", default="localhost:8001", help="host:port of the server's gRPC")
    group.addoption("--http", default="localhost:8000", help="the same of HTTP; empty for none")
    group.addoption("--model", help="model to ask, which is ready; it is also unloaded and loaded")
    group.addoption("--slow", help="another model, whose runs take 10 ms or more each")
    group.addoption("--no-skips", action="store_true", help="fail if anything was skipped")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Name each file's group by the words before the colon of its docstring; the core is first."""
    items.sort(key=lambda item: not item.path.name.startswith("test_core"))
    config.stash[GROUPS] = {
        item.nodeid.split("::")[0]: str(item.module.__doc__).split(":")[0]
        for item in items
        if isinstance(item, pytest.Function)
    }


@pytest.fixture(scope="session")
def target(pytestconfig: pytest.Config) -> Iterator[Target]:
    """The server; without one nothing is checked."""
    model = pytestconfig.getoption("--model")
    if not model:
        pytest.exit("--model is needed: a model of the server that is ready", returncode=2)
    address = pytestconfig.getoption("--grpc")
    try:
        target = Target(address, pytestconfig.getoption("--http"), model)
    except grpc.RpcError as error:
        pytest.exit(f"no {model} at {address}: {error.code().name}, {error.details()}", 2)
    pytestconfig.stash[TARGET] = target
    with target.channel:
        yield target


@pytest.fixture(autouse=True)
def needs(request: pytest.FixtureRequest) -> None:
    """Skip what the server does not claim to do."""
    for marker in request.node.iter_markers():
        if marker.name == "extension":
            if marker.args[0] not in request.getfixturevalue("target").extensions:
                pytest.skip(f"the server does not name the extension {marker.args[0]}")
        elif marker.name == "rest" and not request.getfixturevalue("target").http_address:
            pytest.skip("no HTTP address is given")


@pytest.fixture
def batches(target: Target) -> None:
    """Skip where the model takes no batches."""
    if not target.batches or target.max_batch_size < 3:
        pytest.skip("the model takes no batches of 3")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Skip an optional part that the server answers with UNIMPLEMENTED."""
    try:
        return (yield)
    except (grpc.RpcError, InferenceServerException) as error:
        marker = item.get_closest_marker("optional")
        if marker and code_of(error) == "UNIMPLEMENTED":
            pytest.skip(f"{marker.args[0]} is UNIMPLEMENTED")
        raise


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> Iterator[None]:
    """Print what passed, by group, below everything else."""
    yield
    if (target := config.stash.get(TARGET, None)) is None:
        return
    write, groups = terminalreporter.write_line, config.stash[GROUPS]
    rows: dict[str, Counter[str]] = {group: Counter() for group in groups.values()}
    for outcome, column in OUTCOMES.items():
        for report in terminalreporter.stats.get(outcome, []):
            rows[groups[report.nodeid.split("::")[0]]][column] += 1
    rows["in all"] = sum(rows.values(), Counter())
    server = target.server
    asked = f"{server.name} {server.version}, model {target.model}"
    terminalreporter.section(f"conformance of {asked}")
    columns = tuple(dict.fromkeys(OUTCOMES.values()))
    width = max(map(len, rows))
    write(" " * width + "".join(f"{column:>9}" for column in columns))
    for group, counts in rows.items():
        numbers = "".join(f"{counts[column] or '-':>9}" for column in columns)
        write(f"{group:{width}}{numbers}")
    skipped = (report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    for reason, count in Counter(skipped).most_common():
        write(f"{count:>4} x {reason.removeprefix('Skipped: ')}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run that skipped something and must not."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter.stats.get("skipped") and not exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
