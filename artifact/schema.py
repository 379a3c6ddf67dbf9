"""Schema versions: JSON documents of older versions, upgraded one version at a time.

A document states its version in `schema_version`, from 1 on. Models of the documents refuse unknown
fields, so every field that is added, removed or changed raises the version. Then:

* Add a step to the document's chain, from the fields of the version before to those of the new one.
* Keep a document of the version before among the tests (`tests/data/manifests` for manifests).

A document is never rewritten on disk: published versions of a model stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import from_json

Step = Callable[[dict[str, Any]], dict[str, Any]]
"""Returns the fields of a document in the next version; `schema_version` is set by `upgrade`."""


class NewerSchemaError(ValueError):
    """The document has a version that this convoy does not know yet."""


def load(data: bytes, steps: Sequence[Step]) -> Any:
    """
    Parse a JSON document and upgrade it to the newest version.

    Args:
        steps: The document's chain: the first step leads from version 1 to 2.

    Returns:
        The document to validate: it may lack fields, or be something else altogether.

    Raises:
        NewerSchemaError: If its version is newer than the chain leads to.
        ValueError: If it is not JSON, or cannot be upgraded.
    """
    try:
        document = from_json(data)
    except ValueError as error:
        raise ValueError(f"invalid JSON: {error}") from error
    return upgrade(document, steps)


def upgrade(document: Any, steps: Sequence[Step]) -> Any:
    """Upgrade a parsed document to the newest version; raises as `load`."""
    newest = len(steps) + 1
    # The first documents were allowed to leave their version out.
    version = document.get("schema_version", 1) if isinstance(document, dict) else None
    # No document, or no version (True is an int in Python): validation names what is wrong.
    if type(version) is not int or version < 1:
        return document
    # Newer: unknown fields could change the meaning of known ones, so it is never half read.
    if version > newest:
        raise NewerSchemaError(
            f"schema_version {version} is newer than {newest}, the newest that this convoy reads"
        )
    # Older: take the steps that it lacks.
    for older, step in enumerate(steps[version - 1 :], start=version):
        try:
            document = step(document) | {"schema_version": older + 1}
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError(f"damaged: it lacks fields of schema_version {older}") from error
    return document | {"schema_version": newest}
