"""`LogSettings`: the level of the log, at run time, in Triton's words."""

from __future__ import annotations

import logging

from convoy.pb.inference import grpc_service_pb2 as pb
from service.errors import InvalidArgumentError

Value = pb.LogSettingsRequest.SettingValue

# From the most talkative to the quietest; the first one that is on decides.
_LEVELS = {
    "log_verbose_level": logging.DEBUG,
    "log_info": logging.INFO,
    "log_warning": logging.WARNING,
    "log_error": logging.ERROR,
}


def settings(request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
    """
    Change what the request names, then tell every setting.

    Raises:
        InvalidArgumentError: If a setting is unknown or of the wrong type; nothing changes then.
    """
    on = _current()
    for name, value in request.settings.items():
        on[name] = _read(name, value)
    if request.settings:
        levels = (level for name, level in _LEVELS.items() if on[name])
        logging.getLogger().setLevel(next(levels, logging.CRITICAL))
    response = pb.LogSettingsResponse()
    for name, is_on in _current().items():
        if name == "log_verbose_level":
            response.settings[name].uint32_param = int(is_on)
        else:
            response.settings[name].bool_param = is_on
    return response


def _current() -> dict[str, bool]:
    level = logging.getLogger().level
    return {name: level <= least for name, least in _LEVELS.items()}


def _read(name: str, value: Value) -> bool:
    if name not in _LEVELS:
        raise InvalidArgumentError(f"{name[:64]!r} is none of {', '.join(_LEVELS)}")
    wanted = "uint32_param" if name == "log_verbose_level" else "bool_param"
    if value.WhichOneof("parameter_choice") != wanted:
        raise InvalidArgumentError(f"{name} must be given as {wanted}")
    return bool(getattr(value, wanted))
