"""The error for a model that a request names and that no version serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from convoy.service.errors import ModelNotFoundError, ModelNotReadyError


class VersionStatus(NamedTuple):
    """
    The state of one version, for clients.

    Attributes:
        serves: Whether a model answers requests for it.
        loading: Whether it is being loaded for the first time.
        reason: Stable reason of its state; empty if nothing explains it.
    """

    number: int
    serves: bool
    loading: bool
    reason: str


def missing(
    name: str, version: str, versions: Sequence[VersionStatus], *, started: bool
) -> ModelNotFoundError | ModelNotReadyError:
    """
    Return the error for *version* of model *name*, which does not serve.

    Args:
        version: Decimal digits; empty for the newest version.
        versions: Every version of the model that was ever loaded.
        started: Whether the models to serve from the start are loaded.
    """
    # While the server starts, it does not know yet which models there will be.
    if not started:
        return ModelNotReadyError("the models are still being loaded")
    # Nobody ever loaded it; an entry without versions belongs to a load that just begins.
    if not versions:
        return ModelNotFoundError(f"no model is named {name[:64]!r}")
    for found in versions:
        # The version is known, or the first version of the model is on its way: a retry may help.
        # The client gets the reason only, the message is for the operator.
        if version == str(found.number) or (not version and found.loading):
            reason = f": {found.reason}" if found.reason else ""
            return ModelNotReadyError(f"model {name} version {found.number} is not ready{reason}")
    # Other versions serve: name them.
    known = ", ".join(str(found.number) for found in sorted(versions) if found.serves)
    if known and version:
        return ModelNotFoundError(
            f"model {name} has no version {version[:20]!r}; it serves {known}"
        )
    return ModelNotFoundError(f"no version of model {name} is loaded")
