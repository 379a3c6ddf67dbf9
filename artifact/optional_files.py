"""Optional files of a published version: its tuning, its evaluations and its baseline.

Each is a JSON document beside the manifest, and states the SHA-256 of the graph that it describes.
An export writes the baseline if it has images for it; commands add or replace the files later.
`artifact/layers.py` has another optional file, which has no schema version.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from convoy.artifact.errors import ArtifactError
from convoy.artifact.manifest import Part, Sha256
from convoy.artifact.schema import NewerSchemaError, Step, load

logger = logging.getLogger(__name__)


class OptionalFile(Part):
    """
    The content of an optional file.

    Attributes:
        model_sha256: SHA-256 of the graph that the file describes.
    """

    model_sha256: Sha256


Content = TypeVar("Content", bound=OptionalFile)


def read_optional_file(
    path: Path, kind: type[Content], steps: Sequence[Step] = ()
) -> Content | None:
    """
    Read an optional file; return None if it is missing or was written by a newer convoy.

    Args:
        steps: The upgrades of older schema versions; see `artifact/schema.py`.

    Raises:
        ArtifactError: If the file cannot be read, or is damaged.
    """
    try:
        return read_known_file(path, kind, steps)
    except NewerSchemaError as error:
        # After a rollback of the server, the model must still load.
        logger.warning(
            "ignoring %s: upgrade convoy, or remove the file and measure again",
            path.name,
            extra={"path": str(path), "reason": str(error)},
        )
        return None


def read_known_file(path: Path, kind: type[Content], steps: Sequence[Step] = ()) -> Content | None:
    """
    Read an optional file; return None if it is missing.

    Raises:
        NewerSchemaError: If it was written by a newer convoy.
        ArtifactError: If the file cannot be read, or is damaged.
    """
    try:
        with explaining(path):
            return kind.model_validate(load(path.read_bytes(), steps))
    except FileNotFoundError:
        return None


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """
    Raise `ArtifactError` if the block cannot read the optional file *path*, or finds it damaged.

    `FileNotFoundError` and `NewerSchemaError` pass: callers know what they mean.
    """
    try:
        yield
    except (FileNotFoundError, NewerSchemaError):
        raise
    # It is not damaged: to remove it would lose what it holds.
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        reason = " ".join(str(error).split())  # pydantic's messages have several lines
        raise ArtifactError(f"{path}: damaged: {reason}; remove it") from error


def check_graph(path: Path, content: OptionalFile, model_sha256: str) -> None:
    """
    Check that a file describes the graph beside it.

    Raises:
        ArtifactError: If the file describes another graph, as after a copy from another version.
    """
    if content.model_sha256 != model_sha256:
        raise ArtifactError(
            f"{path}: describes another graph (SHA-256 {content.model_sha256}); remove it"
        )
