"""`tuning.json`: how a model runs best on one machine, as `convoy tune` measured it.

The fourth file of an artifact, and the only one that may be missing or come later. It says for
which machine it is; on another one it is as if it were not there.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from convoy.artifact.errors import ArtifactError
from convoy.artifact.manifest import Part

TUNING_FILE = "tuning.json"


class Machine(Part):
    """
    What a measurement holds for.

    Attributes:
        processor: Its name, as the system tells it.
        cores: Cores that the process might use.
        onnxruntime: Version.
        gpu: The GPU, and how it is used; empty for runs on the processor.
    """

    processor: str
    cores: int = Field(ge=1)
    onnxruntime: str
    gpu: str = ""

    def runs_at_once(self, threads: int) -> int:
        """Runs of so many threads that there is room for; a GPU takes one at a time."""
        return 1 if self.gpu else self.cores // threads


class Choice(Part):
    """
    One way to run the model, and what it gave.

    Attributes:
        threads: Intra-op threads of a run, as many runs at once as cores allow; 1 on a GPU.
        batch_size: Images in each run.
        images_per_s: Of all runs together.
        run_ms: Median time of a run.
        run_p99_ms: Time that 99 of 100 runs stay below.
    """

    threads: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    images_per_s: float = Field(gt=0)
    run_ms: float = Field(gt=0)
    run_p99_ms: float = Field(gt=0)


class Tuning(Part):
    """
    What was measured, and what was chosen.

    Attributes:
        model_sha256: Of the graph that was measured.
        p99_ms: Bound that was set for the latency of 99 of 100 requests.
        chosen: Its threads, and its batch size as the largest one.
        measured: Everything that was tried.
    """

    schema_version: Literal[1] = 1
    machine: Machine
    model_sha256: str
    p99_ms: float = Field(gt=0)
    chosen: Choice
    measured: tuple[Choice, ...]
    made_at: datetime

    def holds_for(self, machine: Machine, model_sha256: str) -> bool:
        """Whether it was measured on such a machine, with this graph."""
        return (self.machine, self.model_sha256) == (machine, model_sha256)


def read_tuning(folder: Path) -> Tuning | None:
    """
    Read the tuning of the artifact in *folder*; None if there is none.

    Raises:
        ArtifactError: If it is damaged.
    """
    path = folder / TUNING_FILE
    try:
        return Tuning.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"{path}: damaged: {error}") from error


def write_tuning(folder: Path, tuning: Tuning) -> None:
    """Write the tuning of the artifact in *folder*, whole or not at all."""
    hidden = folder.parent / f".{folder.name}-{TUNING_FILE}"
    hidden.write_text(tuning.model_dump_json(indent=2) + "\n")
    hidden.replace(folder / TUNING_FILE)
