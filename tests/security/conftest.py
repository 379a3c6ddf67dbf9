"""The server that is attacked: one of ours over each transport, or the one that options name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from convoy.service.security.tokens import RIGHTS, Token
from tests.harness import tiny
from tests.harness.server_process import ServerProcess
from tests.harness.transports import TRANSPORTS
from tests.security.log import Log
from tests.security.target import Target

OPTIONS = {
    "--grpc": "host:port of the server's gRPC; by default servers of this checkout are started",
    "--http": "host:port of its HTTP",
    "--control": "host:port of its port for model control, if it has one (--control-port)",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say where the server is."""
    group = parser.getgroup("security")
    for option, text in OPTIONS.items():
        group.addoption(option, default="", help=text)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test of a server over both transports, or against the one that is given."""
    if "transport" in metafunc.fixturenames:
        given = metafunc.config.getoption("--grpc", "")
        metafunc.parametrize("transport", ["given"] if given else TRANSPORTS, scope="session")


@pytest.fixture(scope="session")
def target(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, transport: str
) -> Iterator[Target]:
    """A server that knows a token with each right."""
    if transport == "given":
        with closing(_given(pytestconfig)) as given:
            yield given
    else:
        with _started(tmp_path_factory.mktemp("server"), transport) as started:
            yield started


@pytest.fixture(scope="session")
def apart(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, transport: str
) -> Iterator[Target]:
    """A server that has a port of its own for model control."""
    if transport == "given":
        if not pytestconfig.getoption("--control"):
            pytest.skip("no --control is given")
        with closing(_given(pytestconfig)) as given:
            yield given
    else:
        folder = tmp_path_factory.mktemp("apart")
        with _started(folder, transport, "--control-port", "0") as started:
            yield started


@pytest.fixture(scope="session")
def public(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, transport: str
) -> Iterator[Target]:
    """A server without tokens, which everybody may use."""
    if transport == "given":
        if any(_given(pytestconfig).tokens.values()):
            pytest.skip("the server that is given has tokens")
        with closing(_given(pytestconfig)) as given:
            yield given
    else:
        with _started(tmp_path_factory.mktemp("public"), transport, tokens=False) as started:
            yield started


@pytest.fixture
def own(target: Target) -> ServerProcess:
    """The process of the server, whose log is read; skips a server that is given."""
    if target.process is None:
        pytest.skip("the log of a server that is given cannot be read")
    return target.process


@pytest.fixture
def log(target: Target, own: ServerProcess) -> Log:
    """The log from here on."""
    return Log(target, own)


def _given(config: pytest.Config) -> Target:
    """Return the server that the options name, with the tokens that the environment holds."""
    values = {right: os.environ.get(f"CONVOY_TOKEN_{right.upper()}", "") for right in RIGHTS}  # noqa: TID251
    grpc, http, control = (config.getoption(option) for option in OPTIONS)
    tokens = {right: text for right, text in values.items() if text}
    return Target(grpc, http, control, tokens)


@contextmanager
def _started(folder: Path, transport: str, *options: str, tokens: bool = True) -> Iterator[Target]:
    """Start a server with a model, and with a token for each right unless it needs none."""
    made = {right: Token.make(right, [right]) for right in sorted(RIGHTS) if tokens}
    file = folder / "tokens"
    file.touch(mode=0o600)
    file.write_text("\n".join(token.line for token, _ in made.values()))
    tiny.write(folder / "repository")
    control = ("--model-control-mode", "explicit", "--load-model", "*")
    risk = ("--allow-unbounded-messages",) if transport == "native" else ()
    known = ("--token-file", str(file)) if tokens else ()
    flags = ("--transport", transport, *known, "--log-requests", *control, *risk)
    with ServerProcess(folder / "repository", *flags, *options) as process:
        target = Target(
            grpc=process.address,
            http=process.url.removeprefix("http://"),
            control=_control_address(process),
            tokens={right: text for right, (_, text) in made.items()},
            process=process,
        )
        with closing(target):
            yield target
        # docs/how-to/security.md promises it for servers that are given.
        assert not process.find("model unloaded"), "the suite has unloaded a model"


def _control_address(process: ServerProcess) -> str:
    port = process.find("ready")[0].get("control_port")
    return f"127.0.0.1:{port}" if port else ""
