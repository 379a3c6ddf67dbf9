import sys

import pytest
from pydantic import ValidationError

from convoy.__main__ import main
from convoy.service.settings import Settings
from tests.harness.settings import read


def test_flag_over_variable_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A flag wins over the environment, the environment over the default.
    """
    monkeypatch.setenv("CONVOY_GRPC_PORT", "2")
    monkeypatch.setenv("CONVOY_HTTP_PORT", "3")
    settings = read(Settings, ["--grpc-port", "1"])
    assert (settings.grpc_port, settings.http_port, settings.max_queue_size) == (1, 3, 1024)
    assert settings.model_repository == "model_repository"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grpc-port", "x"], "--grpc-port"),
        (["--grpc-port", "70000"], "--grpc-port"),
        (["--device", "tpu"], "--device"),
        (["--max-queue-delay-ms", "inf"], "--max-queue-delay-ms"),
        (["--shutdown-grace-s", "nan"], "--shutdown-grace-s"),
        (["--max-batch-size", "16", "--max-queue-size", "8"], "--max-queue-size must be at least"),
        (["--max-message-bytes", "1"], "--max-message-bytes must be at least"),
        (["--transport", "native"], "--allow-unbounded-messages"),
        (["--transport", "native", "--host", "::"], "--allow-unbounded-messages"),
        (["--transport", "native", "--host", "server.example"], "--allow-unbounded-messages"),
        (
            ["--transport", "native", "--host", "127.0.0.1", "--token-file", "tokens"],
            "--allow-unbounded-messages",
        ),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_value(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A value that is not valid stops the start with code 2 and one line that names the flag.
    """
    assert main(["serve", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["--host", "127.0.0.1"],
        ["--host", "::1"],
        ["--host", "localhost"],
        ["--allow-unbounded-messages"],
        ["--allow-unbounded-messages", "--host", "127.0.0.1", "--token-file", "tokens"],
    ],
)
def test_native_among_trusted_clients(arguments: list[str]) -> None:
    """
    The native transport, which limits no message, starts where only trusted clients reach it.
    """
    assert read(Settings, ["--transport", "native", *arguments]).transport == "native"


def test_frozen() -> None:
    """
    Settings never change after the start.
    """
    with pytest.raises(ValidationError):
        Settings().grpc_port = 1  # type: ignore[misc]


def test_fronts_need_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Front processes are refused on other systems, with the remedy.
    """
    assert Settings(front_processes=1).front_processes == 1
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Settings().front_processes == 0
    with pytest.raises(ValidationError, match="--front-processes needs Linux; leave it out"):
        Settings(front_processes=1)


def test_control_host_without_a_port() -> None:
    """
    An address for model control is refused where control has no port of its own.
    """
    assert Settings(control_host="10.0.0.1", control_port=0).control_host == "10.0.0.1"
    with pytest.raises(ValidationError, match="--control-host needs --control-port"):
        Settings(control_host="10.0.0.1")


def test_control_port_without_control() -> None:
    """
    A port for model control that would refuse it is refused.
    """
    assert Settings(control=False).control_port is None
    for port in (0, 8002):
        with pytest.raises(ValidationError, match="--control-port needs model control; leave out"):
            Settings(control=False, control_port=port)


def test_images_without_a_prediction_log() -> None:
    """
    Images that would be kept nowhere are refused.
    """
    with pytest.raises(ValidationError, match="--prediction-log-images needs --prediction-log"):
        Settings(prediction_log_images=True)
