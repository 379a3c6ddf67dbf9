"""Models of a repository, named as `NAME` or `NAME:VERSION`."""

from __future__ import annotations

from convoy.artifact.errors import RepositoryError
from convoy.artifact.files import Artifact
from convoy.artifact.stores import Repository
from convoy.commands.command_line import UsageError
from convoy.commands.measurement.artifacts import read_newest


def parse_model(text: str) -> tuple[str, int]:
    """Return the name and the version that *text* states; 0 is the newest; raises UsageError."""
    name, colon, version = text.partition(":")
    if colon and not (version.isdecimal() and int(version)):
        raise UsageError(f"{text!r} is no model: expected NAME, or NAME:VERSION such as lenet5:1")
    return name, int(version or 0)


def read_model(repository: Repository, text: str) -> Artifact:
    """
    Read the model *text* of *repository*.

    Raises:
        UsageError: If the text names no model.
        RepositoryError: If there is no such model or version.
        ArtifactError: If it is damaged.
    """
    name, version = parse_model(text)
    if not version:
        return read_newest(repository, [name])[0]
    if version not in (known := repository.versions(name)):
        there = f"there are {', '.join(map(str, known))}" if known else "there is no such model"
        raise RepositoryError(f"no version {version} of {name!r} in {repository}: {there}")
    return repository.read(name, version)
