"""The settings of `convoy bulk`: options that do not fit together."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from convoy.commands.bulk.bulk_settings import BulkSettings

USUAL = {"model": "lenet5", "sources": ["photos"], "to": "labels"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": "secret"}, "--token: only for --server"),
        ({"tls": True}, "--tls: only for --server"),
        ({"timeout_s": 3.0}, "--timeout-s: only for --server"),
        ({"server": ["a"], "device": "cuda"}, "--device: not with --server"),
        ({"server": ["a"], "model_repository": "m"}, "--model-repository: not with --server"),
        ({"to": ""}, "to\n  String should have at least 1 character"),
        ({"column": ""}, "column\n  String should have at least 1 character"),
        ({"to": "memory://labels"}, "memory://labels is lost when the command ends"),
        ({"address": "tcp://scheduler:8786"}, "--address needs --engine dask or --engine ray"),
        ({"engine": "dask", "address": "a", "workers": 2}, "--workers is for workers on this"),
    ],
)
def test_refusals(changes: dict[str, object], message: str) -> None:
    """
    An option without effect, an empty one, and labels that nobody could read, are refused.
    """
    with pytest.raises(ValidationError, match=message):
        BulkSettings.model_validate(USUAL | changes)


def test_variables_for_other_commands() -> None:
    """
    A token and an address in variables are meant for other commands if they are of no use here.
    """
    given = USUAL | {"address": "localhost:8001", "timeout_s": 3.0}
    assert BulkSettings.model_validate(given, context={"flags": set()}).engine == "local"
    chosen = BulkSettings.model_validate(given | {"workers": 2}, context={"flags": {"workers"}})
    assert (chosen.engine, chosen.workers) == ("local", 2)
    chosen = BulkSettings.model_validate(USUAL | {"token": "secret"}, context={"flags": set()})
    assert not chosen.server
    assert BulkSettings.model_validate(USUAL | {"token": "secret", "server": ["a"]}).server
