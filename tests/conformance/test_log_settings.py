"""Log settings: what is logged, changed while the server runs (Triton's extension logging)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.conformance.target import BAD_REQUEST, Target, refused

pytestmark = pytest.mark.extension("logging")

KINDS: dict[type, str] = {bool: "bool_param", int: "uint32_param", str: "string_param"}


def settings(target: Target, **changes: Any) -> dict[str, Any]:
    """Change settings; gives all of them."""
    request = pb.LogSettingsRequest()
    for name, value in changes.items():
        setattr(request.settings[name], KINDS[type(value)], value)
    answer = target.call("LogSettings", request)
    return {
        name: getattr(value, value.WhichOneof("parameter_choice"))
        for name, value in answer.settings.items()
    }


@pytest.fixture(autouse=True)
def before(target: Target) -> Iterator[dict[str, Any]]:
    """The settings, which are the same afterwards."""
    found = settings(target)
    yield found
    settings(target, **{name: value for name, value in found.items() if value != ""})
    assert settings(target) == found


def test_read(before: dict[str, Any]) -> None:
    """The answer has every setting, with its type."""
    assert type(before["log_verbose_level"]) is int
    for name in ("log_info", "log_warning", "log_error"):
        assert type(before[name]) is bool


@pytest.mark.parametrize("level", [1, 2, 0])
def test_verbose_level(target: Target, before: dict[str, Any], level: int) -> None:
    """The level of verbose messages is any integer from 0, and is returned; the rest stays."""
    assert settings(target, log_verbose_level=level) == before | {"log_verbose_level": level}
    assert settings(target)["log_verbose_level"] == level


def test_info(target: Target) -> None:
    """A level is turned off and on."""
    assert settings(target, log_info=False)["log_info"] is False
    assert settings(target)["log_info"] is False
    assert settings(target, log_info=True)["log_info"] is True


WRONG: list[dict[str, Any]] = [
    {"no_such_setting": True},
    {"": True},
    {"log_info": 1},
    {"log_info": "true"},
    {"log_verbose_level": True},
    {"log_verbose_level": "1"},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_refused(target: Target, before: dict[str, Any], change: dict[str, Any]) -> None:
    """An unknown setting, or a value of the wrong type, is INVALID_ARGUMENT."""
    with refused("INVALID_ARGUMENT"):
        settings(target, **change)
    assert settings(target) == before


def test_refused_as_a_whole(target: Target, before: dict[str, Any]) -> None:
    """A request with one wrong setting changes none."""
    with refused("INVALID_ARGUMENT"):
        settings(target, log_verbose_level=1, no_such_setting=True)
    assert settings(target) == before


def test_value_of_no_type(target: Target) -> None:
    """A setting without a value is INVALID_ARGUMENT, or changes nothing."""
    request = pb.LogSettingsRequest()
    request.settings["log_info"].SetInParent()
    with refused("INVALID_ARGUMENT"):
        target.call("LogSettings", request)


@pytest.mark.rest
def test_over_http(target: Target, before: dict[str, Any]) -> None:
    """The same by GET and POST, numbers and booleans as JSON has them."""
    assert target.rest.get("/v2/logging").json == before
    answer = target.rest.post("/v2/logging", {"log_verbose_level": 1})
    assert answer.json == before | {"log_verbose_level": 1}
    assert settings(target) == answer.json


@pytest.mark.rest
@pytest.mark.parametrize(
    "change",
    [*WRONG, {"log_verbose_level": -1}, {"log_verbose_level": 2**40}, {"log_info": None}, [1]],
    ids=str,
)
def test_refused_over_http(target: Target, before: dict[str, Any], change: object) -> None:
    """A refused setting is 400."""
    assert target.rest.post("/v2/logging", change).status in BAD_REQUEST
    assert settings(target) == before
