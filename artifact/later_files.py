"""Optional files of a published version: its tuning, its evaluations and its baseline.

Each is a JSON document beside the manifest, which states the graph that it is about. An export
writes the baseline if it has images for it; commands write or replace each file later.
`artifact/layers.py` has a further one, of no schema version.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from convoy.artifact.errors import ArtifactError
from convoy.artifact.manifest import Part, Sha256
from convoy.artifact.schema import NewerSchemaError, Step, load

logger = logging.getLogger(__name__)


class LaterFile(Part):
    """
    The content of such a file.

    Attributes:
        model_sha256: SHA-256 of the graph that it is about.
    """

    model_sha256: Sha256


Content = TypeVar("Content", bound=LaterFile)


def read_later_file(
    path: Path, kind: type[Content], command: str, steps: Sequence[Step] = ()
) -> Content | None:
    """
    Read a file of an artifact; return None if it is missing, or of a newer convoy.

    Args:
        command: The command that writes the file, for the log.
        steps: The upgrades of older versions; see `artifact/schema.py`.

    Raises:
        ArtifactError: If the file is damaged.
    """
    try:
        return kind.model_validate(load(path.read_bytes(), steps))
    except FileNotFoundError:
        return None
    except NewerSchemaError as error:
        # After a rollback of the server, the model must load without it.
        logger.warning(
            "ignoring %s: run `%s` again",
            path.name,
            command,
            extra={"path": str(path), "reason": str(error)},
        )
        return None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())  # pydantic's takes several lines
        raise ArtifactError(f"{path}: damaged: {reason}; remove it") from error


def check_graph(path: Path, content: LaterFile, model_sha256: str) -> None:
    """
    Check that a file is about the graph beside it.

    Raises:
        ArtifactError: If not: it was copied from another version, whose numbers it holds.
    """
    if content.model_sha256 != model_sha256:
        raise ArtifactError(
            f"{path}: describes another graph, of SHA-256 {content.model_sha256}; remove it"
        )
