"""`LogSettings`: the level of the log, at run time, with Triton's names."""

from __future__ import annotations

import logging

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.errors import InvalidArgumentError

Value = pb.LogSettingsRequest.SettingValue

# From the most verbose to the quietest: the first setting that is on decides the level.
_LEVELS = {
    "log_verbose_level": logging.DEBUG,
    "log_info": logging.INFO,
    "log_warning": logging.WARNING,
    "log_error": logging.ERROR,
}


class LogSettings:
    """The settings of the process's log; `log_verbose_level` keeps the number that was set."""

    def __init__(self) -> None:
        self._verbose_level = 1

    def change(self, request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
        """
        Change the settings that the request names, and return all settings.

        Raises:
            InvalidArgumentError: If a setting is unknown or of the wrong type; nothing changes
                then.
        """
        # Read all before any changes: a request is applied completely or not at all.
        asked = {name: _read(name, value) for name, value in request.settings.items()}
        values = _current() | asked
        # What is turned off takes all that is more verbose with it, unless the same request asks
        # for that.
        quietest = max(
            (place for place, name in enumerate(_LEVELS) if asked.get(name) == 0), default=0
        )
        values |= {name: 0 for name in list(_LEVELS)[:quietest] if name not in asked}
        if request.settings:
            if "log_verbose_level" in request.settings:
                self._verbose_level = values["log_verbose_level"] or 1
            levels = (level for name, level in _LEVELS.items() if values[name])
            logging.getLogger().setLevel(next(levels, logging.CRITICAL))
        response = pb.LogSettingsResponse()
        for name, value in _current().items():
            if name == "log_verbose_level":
                response.settings[name].uint32_param = value * self._verbose_level
            else:
                response.settings[name].bool_param = bool(value)
        return response


def _current() -> dict[str, int]:
    """Return 1 for each setting that is on, and 0 for the others."""
    level = logging.getLogger().level
    return {name: int(level <= least) for name, least in _LEVELS.items()}


def _read(name: str, value: Value) -> int:
    if name not in _LEVELS:
        raise InvalidArgumentError(
            f"unknown log setting {name[:64]!r}: expected {' or '.join(_LEVELS)}"
        )
    field = "uint32_param" if name == "log_verbose_level" else "bool_param"
    if value.WhichOneof("parameter_choice") != field:
        raise InvalidArgumentError(f"{name} must be given as {field}")
    return int(getattr(value, field))
