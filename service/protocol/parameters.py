"""Parameters of requests, in each type in which clients send them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.call import DEFAULT_PRIORITY, PRIORITIES, Call
from convoy.service.errors import InvalidArgumentError, UnsupportedError

Parameters = Mapping[str, pb.InferParameter]

_INTEGERS = ("int64_param", "uint64_param")


def set_options(call: Call, parameters: Parameters) -> None:
    """
    Read the request's options into its record.

    An unknown priority is treated as the default, as in Triton; a `timeout`, in microseconds, can
    only shorten the client's deadline.

    Raises:
        InvalidArgumentError: If a value is not an integer, or the timeout is negative.
    """
    priority = integer(parameters, "priority") or DEFAULT_PRIORITY
    timeout_us = integer(parameters, "timeout") or 0
    if timeout_us < 0:
        raise InvalidArgumentError(f"parameter 'timeout' is {timeout_us}; it must not be negative")
    # 0 is no timeout, as in Triton.
    if timeout_us:
        deadline = asyncio.get_running_loop().time() + timeout_us / 1e6
        call.deadline = min(call.deadline, deadline)
    call.priority = priority if priority in PRIORITIES else DEFAULT_PRIORITY


def integer(parameters: Parameters, name: str) -> int | None:
    """
    Return an integer parameter, signed or not; None if it is not sent.

    Raises:
        InvalidArgumentError: If it is of another type.
    """
    if name not in parameters:
        return None
    kind = parameters[name].WhichOneof("parameter_choice")
    # A text or a float is refused, not converted: it may be a client's mistake.
    if kind not in _INTEGERS:
        raise InvalidArgumentError(f"parameter {name!r} must be an integer")
    return int(getattr(parameters[name], kind))


def flag(parameters: Parameters, name: str) -> bool:
    """
    Return a boolean parameter; false if it is not sent.

    Raises:
        InvalidArgumentError: If it is of another type.
    """
    if name not in parameters:
        return False
    if parameters[name].WhichOneof("parameter_choice") != "bool_param":
        raise InvalidArgumentError(f"parameter {name!r} must be a boolean")
    return parameters[name].bool_param


def refuse_shared_memory(parameters: Parameters) -> None:
    """Raise `UnsupportedError` if a tensor lies in shared memory."""
    if "shared_memory_region" in parameters:
        raise UnsupportedError("shared memory is not supported: send the tensors in the request")
