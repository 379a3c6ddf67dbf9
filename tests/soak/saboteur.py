"""A server with faults that the soak is to find: `python -m tests.soak.saboteur serve ...`."""

from __future__ import annotations

import sys
from itertools import count
from typing import Any

import numpy as np

from convoy.__main__ import main
from convoy.service.call import Call
from convoy.service.protocol.templates import Match
from convoy.service.serving.registry import ModelRegistry
from convoy.service.serving.served_model import ServedModel
from convoy.service.telemetry.batch_record import Outputs

EACH, EACH_SEARCH = 200, 10
"""One call in so many meets a fault; models are searched for those only that have no template."""

_respond, _count_call, _get = Match.response, Call._count_call, ModelRegistry.get
_responses, _counts, _searches = count(1), count(1), count(1)


def other_values(match: Match, outputs: Outputs) -> bytes:
    """Answer with values that differ in their last bit, now and then."""
    if next(_responses) % EACH == 0:
        outputs = {name: np.nextafter(values, 1) for name, values in outputs.items()}
    return _respond(match, outputs)


def not_counted(call: Call, *about: Any) -> None:
    """Forget a call, now and then."""
    _count_call(call, *about)
    if next(_counts) % EACH == 0:
        call._calls.metrics.requests.counts[call.model, call.method, "OK"] -= 1


def other_version(registry: ModelRegistry, name: str, version: str = "") -> ServedModel:
    """Find the version that is served in place of the one that is asked for, now and then."""
    return _get(registry, name, version if next(_searches) % EACH_SEARCH else "")


if __name__ == "__main__":
    for owner, name, fault in (
        (Match, "response", other_values),
        (Call, "_count_call", not_counted),
        (ModelRegistry, "get", other_version),
    ):
        setattr(owner, name, fault)
    sys.exit(main())
