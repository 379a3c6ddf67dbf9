import pytest

from convoy.__main__ import main
from convoy.service.machine.environment import warn_of_variables
from convoy.service.settings import Settings
from tests.harness.settings import read


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
    expected = getattr(read(Settings, flags), setting)
    monkeypatch.setenv(f"CONVOY_{setting.upper()}", value)
    assert getattr(read(Settings, []), setting) == expected


NO_PAIRS = "is not a list of pairs; expected NAME=VALUE,NAME=VALUE"
NO_SIZE = "is not a size; expected a number of bytes, or one such as 4GiB"


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("version_policy", "lenet5", f"'lenet5' {NO_PAIRS}"),
        ("version_policy", "lenet5=", f"'lenet5=' {NO_PAIRS}"),
        ("version_policy", "a=all,=all", f"'a=all,=all' {NO_PAIRS}"),
        (
            "version_policy",
            "lenet5=most",
            "invalid version policy 'most': expected all, latest, latest:N or specific:N[:N...]",
        ),
        ("version_policy", '{"a": ', "'{\"a\": ' is not valid JSON"),
        ("model_weight", "lenet5=heavy", "lenet5: 'heavy' is not a number"),
        ("model_weight", "lenet5=0", "lenet5: 0 is out of range; must be greater than 0"),
        ("memory_budget", "much", f"'much' {NO_SIZE}"),
        ("max_batch_size", "1.5", "'1.5' is not a whole number"),
        ("device", "tpu", "'tpu' is not a choice; expected 'auto', 'cuda' or 'cpu'"),
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
    A value that cannot be read is one line, which names the flag or the variable that gave it.
    """
    flag, variable = f"--{setting.replace('_', '-')}", f"CONVOY_{setting.upper()}"
    assert main(["serve", flag, value]) == 2
    assert capsys.readouterr().err == f"convoy serve: {flag}: {message}\n"
    monkeypatch.setenv(variable, value)
    assert main(["serve"]) == 2
    assert capsys.readouterr().err == f"convoy serve: {variable}: {message}\n"


def test_unknown_variable(caplog: pytest.LogCaptureFixture) -> None:
    """
    A variable that is not a setting is named, a misspelt one with the setting that was meant.
    """
    variables = {"CONVOY_MAX_BATCHSIZE": "8", "convoy_grpcport": "1", "CONVOY_ADDRESS": "server"}
    others = {"HOME": "/", "CONVOY_HOST": "::"}
    warn_of_variables(Settings.model_fields, variables | others)
    named = {one.__dict__["variable"]: one.__dict__.get("closest") for one in caplog.records}
    assert named == {
        "CONVOY_MAX_BATCHSIZE": "CONVOY_MAX_BATCH_SIZE",
        "convoy_grpcport": "CONVOY_GRPC_PORT",
        "CONVOY_ADDRESS": None,
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
    assert read(Settings, []) == Settings.model_construct()
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
    assert read(Settings, []).grpc_port == 9001
    warn_of_variables(Settings.model_fields, {"CONVOY_GRPC_PORT": "9001"})
    assert caplog.records == []
