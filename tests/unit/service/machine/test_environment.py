from typing import get_origin

import pytest
from pydantic_settings import NoDecode

from convoy.commands import command_line
from convoy.service.machine.environment import warn_of_variables
from convoy.service.settings import Settings


@pytest.mark.parametrize(
    ("setting", "value", "flags"),
    [
        ("load_model", "lenet5", ["--load-model", "lenet5"]),
        ("load_model", "a, b", ["--load-model", "a", "--load-model", "b"]),
        ("load_model", '["a", "b"]', ["--load-model", "a,b"]),
        ("load_model", "*", ["--load-model", "*"]),
        ("load_model", "", ["--load-model", ""]),
        ("version_policy", "lenet5=all", ["--version-policy", "lenet5=all"]),
        (
            "version_policy",
            "LeNet5=specific:1:3, *=latest:2",
            ["--version-policy", "LeNet5=specific:1:3", "--version-policy", "*=latest:2"],
        ),
        ("version_policy", '{"a": "all"}', ["--version-policy", "a=all"]),
        ("model_weight", "a=4,b=0.5", ["--model-weight", "a=4", "--model-weight", "b=0.5"]),
        ("allowed_hosts", "a.example,*.b", ["--allowed-hosts", "a.example,*.b"]),
        ("memory_budget", "4GiB", ["--memory-budget", "4GiB"]),
        ("control", "false", ["--no-control"]),
        ("max_batch_size", "8", ["--max-batch-size", "8"]),
    ],
)
def test_variable_like_flag(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, flags: list[str]
) -> None:
    """
    A variable accepts what its flag accepts, and means the same.
    """
    expected = getattr(command_line.read(Settings, flags), setting)
    monkeypatch.setenv(f"CONVOY_{setting.upper()}", value)
    assert getattr(command_line.read(Settings, []), setting) == expected


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("version_policy", "lenet5", "'lenet5' is not a list of pairs: expected NAME=VALUE"),
        ("version_policy", "lenet5=", "expected NAME=VALUE"),
        ("version_policy", "a=all,=all", "expected NAME=VALUE"),
        ("version_policy", "lenet5=most", "invalid version policy 'most'"),
        ("version_policy", '{"a": ', "CONVOY_VERSION_POLICY"),
        (
            "model_weight",
            "lenet5=heavy",
            "CONVOY_MODEL_WEIGHT: lenet5: Input should be a valid num",
        ),
        ("model_weight", "lenet5=0", "lenet5: Input should be greater than 0"),
    ],
)
def test_bad_value_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    setting: str,
    value: str,
    message: str,
) -> None:
    """
    A value that cannot be read is one line that names flag and variable, given in either.
    """
    flag = f"--{setting.replace('_', '-')}"
    with pytest.raises(SystemExit):
        command_line.read(Settings, [flag, value])
    by_flag = capsys.readouterr().err
    monkeypatch.setenv(f"CONVOY_{setting.upper()}", value)
    with pytest.raises(SystemExit):
        command_line.read(Settings, [])
    by_variable = capsys.readouterr().err
    for text in (by_flag, by_variable):
        assert text.count("\n") == 1
        assert f"{flag} or CONVOY_{setting.upper()}" in text
        assert message in text


def test_lists_and_maps_are_read_from_text() -> None:
    """
    No setting has a list or a map that variables could give in JSON only.
    """
    for name, field in Settings.model_fields.items():
        if get_origin(field.annotation) in (list, dict, tuple, set):
            assert NoDecode in field.metadata, name


def test_unknown_variable(caplog: pytest.LogCaptureFixture) -> None:
    """
    A variable that is no setting is named with the setting whose name is the closest.
    """
    warn_of_variables(
        Settings.model_fields,
        {"CONVOY_MAX_BATCHSIZE": "8", "convoy_grpcport": "1", "HOME": "/", "CONVOY_HOST": "::"},
    )
    named = {record.__dict__["variable"]: record.__dict__["closest"] for record in caplog.records}
    assert named == {
        "CONVOY_MAX_BATCHSIZE": "CONVOY_MAX_BATCH_SIZE",
        "convoy_grpcport": "CONVOY_GRPC_PORT",
    }


SERVICE = {
    "{}_SERVICE_HOST": "10.96.0.12",
    "{}_SERVICE_PORT": "8001",
    "{}_SERVICE_PORT_HTTP": "8000",
    "{}_PORT": "tcp://10.96.0.12:8001",
    "{}_PORT_8001_TCP": "tcp://10.96.0.12:8001",
    "{}_PORT_8001_TCP_PROTO": "tcp",
    "{}_PORT_8001_TCP_PORT": "8001",
    "{}_PORT_8001_TCP_ADDR": "10.96.0.12",
    "{}_PORT_53_UDP": "udp://10.96.0.12:53",
}
"""Variables that Kubernetes makes for a Service; its documentation has the same."""


@pytest.mark.parametrize("service", ["convoy", "convoy-grpc", "convoy-http", "convoy-control"])
def test_variables_of_a_service(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, service: str
) -> None:
    """
    The variables of a Service set nothing, and leave one warning, which names it and the remedy.
    """
    prefix = service.upper().replace("-", "_")
    made = {name.format(prefix): value for name, value in SERVICE.items()}
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    assert command_line.read(Settings, []) == Settings.model_construct()
    warn_of_variables(Settings.model_fields, made)
    (warning,) = caplog.records
    assert "enableServiceLinks: false" in warning.message
    assert warning.__dict__["service"] == service
    assert warning.__dict__["variables"] == sorted(made)


def test_port_is_no_service(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A port in the same variable is the setting.
    """
    monkeypatch.setenv("CONVOY_GRPC_PORT", "9001")
    assert command_line.read(Settings, []).grpc_port == 9001
    warn_of_variables(Settings.model_fields, {"CONVOY_GRPC_PORT": "9001"})
    assert caplog.records == []
