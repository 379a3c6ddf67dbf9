import pytest

from convoy.service.serving.policy import VersionPolicy


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("latest", VersionPolicy(latest=1)),
        ("latest:3", VersionPolicy(latest=3)),
        ("all", VersionPolicy()),
        ("specific:2:10", VersionPolicy(specific=(2, 10))),
    ],
)
def test_parse(text: str, policy: VersionPolicy) -> None:
    """
    A policy is read from its text, and written as one that means the same.
    """
    assert VersionPolicy.parse(text) == policy
    assert VersionPolicy.parse(str(policy)) == policy


@pytest.mark.parametrize(
    "text", ["", "newest", "latest:0", "latest:x", "specific", "all:1", "specific:-1"]
)
def test_no_policy(text: str) -> None:
    """
    A value that is no policy is refused by name.
    """
    with pytest.raises(ValueError, match="invalid version policy"):
        VersionPolicy.parse(text)


@pytest.mark.parametrize(
    ("text", "candidates"),
    [("latest:2", [9, 3, 1]), ("all", [9, 3, 1]), ("specific:1:3:7", [3, 1])],
)
def test_candidates(text: str, candidates: list[int]) -> None:
    """
    The newest is tried first; versions that are not in the repository are passed over.
    """
    assert VersionPolicy.parse(text).candidates([1, 3, 9]) == candidates


def test_enough() -> None:
    """
    Only `latest` stops at a number.
    """
    assert VersionPolicy(latest=2).enough(2)
    assert not VersionPolicy(latest=2).enough(1)
    assert not VersionPolicy().enough(100)
