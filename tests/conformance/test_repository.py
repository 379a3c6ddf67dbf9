"""Repository: what is in it (Triton's extension model_repository)."""

from __future__ import annotations

import pytest

from tests.conformance.target import Target, refused

pytestmark = pytest.mark.extension("model_repository")


@pytest.mark.parametrize("ready", [False, True])
def test_index(target: Target, ready: bool) -> None:
    """A model that answers is listed as READY; `ready` lists nothing else."""
    found = target.states(ready=ready)
    assert found[target.version] == "READY"
    assert not ready or set(found.values()) == {"READY"}


@pytest.mark.rest
@pytest.mark.parametrize("path", ["/v2/repository/index", "/v2/repository/some/index"])
def test_index_over_http(target: Target, path: str) -> None:
    """The same over HTTP, with the name of a repository and without."""
    for body in (b"", {}, {"ready": True}):
        answer = target.rest.post(path, body)
        assert answer.status == 200
        found = {one["version"]: one["state"] for one in answer.json if one["name"] == target.model}
        assert found[target.version] == "READY"


def test_index_of_a_named_repository(target: Target) -> None:
    """A server has one repository, without a name: over gRPC one that is named is UNIMPLEMENTED."""
    with refused("UNIMPLEMENTED"):
        target.ask("RepositoryIndex", repository_name="some")
