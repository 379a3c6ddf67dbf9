"""Folders of a model repository that are meant for a model or a version, and break a rule.

No model is served from them. They are reported by name, with the rule and the remedy: skipping them
in silence would leave a repository that looks full and serves nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from convoy.artifact.entries import is_foreign
from convoy.artifact.files import ARTIFACT_FILES
from convoy.artifact.manifest import MODEL_NAME, MODEL_NAME_RULE

NAME = re.compile(MODEL_NAME)
VERSION = re.compile(r"[1-9][0-9]{0,17}")
LAST_VERSION = 10**18 - 1
"""Largest number that `VERSION` matches."""


class Listing(NamedTuple):
    """The names of the folders and files in a folder; none if it may not be read."""

    folders: list[str]
    files: list[str]
    readable: bool = True


class Misnamed(NamedTuple):
    """
    A folder that nothing is served from.

    Attributes:
        model: The name of the model's folder.
        version: The name of the version's folder; empty if the model's is at fault.
        reason: The rule, and the remedy, for the operator; names the folder.
    """

    model: str
    version: str
    reason: str


def misnamed(place: str, read: Callable[[str], Listing]) -> list[Misnamed]:
    """
    Return the folders of a repository that break a rule, sorted.

    Args:
        place: The repository's folder or URL, for the reasons.
        read: Lists a folder; gets its path in the repository, which is empty for the repository.
    """
    models = (name for name in sorted(read("").folders) if not is_foreign(name))
    return [_as_text(found) for model in models for found in _of_model(place, model, read)]


def reasons(found: Iterable[Misnamed], model: str = "") -> str:
    """Return the end of a message: `; REASON` for each folder, or those meant for *model* only."""
    wanted = (one for one in found if model.lower() in ("", one.model.lower()))
    return "".join(f"; {one.reason}" for one in wanted)


def _as_text(found: Misnamed) -> Misnamed:
    """Return names that are not UTF-8 as text, with escapes in place of their bytes."""
    return Misnamed(*(part.encode(errors="backslashreplace").decode() for part in found))


def _of_model(place: str, model: str, read: Callable[[str], Listing]) -> Iterator[Misnamed]:
    folder, listing = f"{place}/{model}", read(model)
    versions = [name for name in sorted(listing.folders) if not is_foreign(name)]
    holds_artifact = not set(ARTIFACT_FILES).isdisjoint(listing.files)
    # Case 1: the model's name. Other folders, such as one of documents, are nobody's model.
    if not NAME.fullmatch(model):
        if holds_artifact or any(re.fullmatch(r"v?[0-9]+", version) for version in versions):
            yield Misnamed(model, "", f"{folder}: {_model_rule(model)}")
        return
    # Case 2: an artifact that is not in the folder of a version.
    if holds_artifact:
        yield Misnamed(model, "", f"{folder}: {_artifact_rule(place, model)}")
    # Case 3: a folder without anything in it.
    if listing == Listing([], []):
        yield Misnamed(model, "", f"{folder}: {_empty_rule(folder)}")
    # Case 4: the names of versions.
    valid = {int(version) for version in versions if VERSION.fullmatch(version)}
    for version in versions:
        if not VERSION.fullmatch(version):
            inner = read(f"{model}/{version}").folders
            is_model = not holds_artifact and any(map(VERSION.fullmatch, inner))
            rule = _nested_rule(folder) if is_model else _version_rule(version, valid)
            yield Misnamed(model, version, f"{folder}/{version}: {rule}")


def _model_rule(name: str) -> str:
    # An accented letter becomes the letter alone.
    plain = unicodedata.normalize("NFKD", name.lower()).encode("ascii", "ignore").decode()
    valid = re.sub(r"[^a-z0-9_.]+", "-", plain).strip("_.-")[:64]
    remedy = f"rename the folder to {valid}" if valid else "rename the folder"
    return f"{MODEL_NAME_RULE}; {remedy}, and use that name in its manifest"


def _artifact_rule(place: str, model: str) -> str:
    rule = (
        "the files of an artifact belong in the folder of a version: "
        f"move them to {place}/{model}/1"
    )
    # Someone may have named a model's folder in place of the repository.
    if not re.fullmatch(r"v?[0-9.]+|latest", model):
        return rule
    return f"{rule}, or, if {place} is a model's folder, serve the folder that holds it"


def _empty_rule(folder: str) -> str:
    return f"the folder is empty; add an artifact as {folder}/1, or remove the folder"


def _nested_rule(folder: str) -> str:
    return (
        "this folder of versions lies where a version belongs; to serve it as a model, serve "
        f"{folder} as the repository, or move it up by one folder"
    )


def _version_rule(name: str, taken: Collection[int]) -> str:
    rule = "a version is a number from 1 on without leading zeros, such as 1; "
    if name == "latest":
        return f"{rule}remove this folder: the highest number is served as the latest version"
    if re.fullmatch("[1-9][0-9]+", name):  # more digits than a version has
        rule = f"a version is a number from 1 on, and at most {LAST_VERSION}; "
    # Only a name that states one number says which: 1.5 and -1 are neither 1 nor 15.
    stated = re.fullmatch(r"(?:version|ver|v)?[_.-]?0*([1-9][0-9]{0,17})(?:\.0)?", name.lower())
    number = int(stated[1]) if stated and not name.startswith("-") else 0
    if number and number not in taken:
        return f"{rule}rename the folder to {number}"
    # The next number, or a smaller one if there is no larger one.
    numbers = (max(taken, default=0) + 1, *range(1, len(taken) + 2))
    free = next(one for one in numbers if one <= LAST_VERSION and one not in taken)
    return f"{rule}rename the folder to a number that is free, such as {free}"
