"""The results of a comparison: plain data, written as JSON with the names here, and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from convoy.artifact.manifest import Evaluation, split_sources
from convoy.artifact.schema import load
from convoy.artifact.whole_files import write_whole
from convoy.commands.compare.published import Published


class ComparisonError(Exception):
    """An error in a file of results; the message is one line that names the file and the field."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Batch(_Part):
    """
    One batch size of one model.

    Attributes:
        ms_per_image: The median time of a run, in milliseconds, divided by its images.
        ms_spread: The 10th and the 90th percentile of the runs, divided likewise; None if not kept.
        runs: The number of runs.
        arena_peak_bytes: The peak of the memory that a run needs in addition to the weights.
        watts: The mean power while it ran, by the machine's `power_source`; None if not measured.
    """

    batch_size: int
    ms_per_image: float
    ms_spread: tuple[float, float] | None = None
    runs: int
    arena_peak_bytes: int
    watts: float | None = None


class Network(_Part):
    """
    One model of the repository.

    Attributes:
        input_px: The height of its images.
        parameters: The parameter count in its manifest.
        macs: The multiply-accumulates in its manifest, for one image of this size; None if they
            are not known.
        weights_bytes: The sum of the graph's initialisers.
        evaluations: The accuracies of these weights: measured when the artifact was made or by
            `convoy evaluate`, or published by the source that each of them names.
        published: The accuracy of other weights of this architecture, on ImageNet.
        batches: Ascending sizes, without those that could not be measured.
    """

    name: str
    version: int
    architecture: str
    precision: str
    input_px: int
    parameters: int
    macs: int | None
    weights_bytes: int
    evaluations: tuple[Evaluation, ...]
    published: Published | None
    batches: tuple[Batch, ...]

    @property
    def fastest(self) -> Batch:
        """The batch size with the shortest time for each image."""
        return min(self.batches, key=lambda batch: batch.ms_per_image)

    def batch(self, size: int) -> Batch | None:
        """Return the measurement of batches of *size*; None if there is none."""
        return next((batch for batch in self.batches if batch.batch_size == size), None)

    def memory_bytes(self, batch: Batch) -> int:
        """Return the memory of the weights and the peak of a run of *batch*, in bytes."""
        return self.weights_bytes + batch.arena_peak_bytes


class Machine(_Part):
    """
    The place and date of measurements of speed and memory.

    Attributes:
        threads: The threads of a run.
        measured_at: The date in UTC.
        power_source: The counter of energy that power was read from; empty if there is none.
    """

    processor: str
    cpus: int
    threads: int
    provider: str
    onnxruntime: str
    measured_at: str
    power_source: str = ""


class Comparison(_Part):
    """
    The results of a comparison.

    Attributes:
        seconds: The shortest time for which each batch size ran.
        notes: The models and sizes that failed, with reasons, and an interruption.
        interrupted: Whether the measurement was ended before its last turn.
    """

    schema_version: Literal[5] = 5
    machine: Machine
    seconds: float
    networks: tuple[Network, ...]
    notes: tuple[str, ...] = ()
    interrupted: bool = False

    @property
    def batch_sizes(self) -> list[int]:
        """All batch sizes with measurements, ascending."""
        return sorted({b.batch_size for network in self.networks for b in network.batches})


def write(comparison: Comparison, path: Path) -> None:
    """Write *comparison* to *path* as indented JSON."""
    write_whole(path, comparison.model_dump_json(indent=2) + "\n")


def read(path: Path) -> Comparison:
    """
    Read a file that `write` wrote, of this or an older version.

    Raises:
        ComparisonError: If the file is none, or of a newer version.
        OSError: If it cannot be read.
    """
    try:
        return Comparison.model_validate(load(path.read_bytes(), _STEPS))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(map(str, problem["loc"])) or "document"
        raise ComparisonError(f"{path}: {field}: {problem['msg']}") from error
    except ValueError as error:  # no JSON, or of a newer version
        raise ComparisonError(f"{path}: {error}") from error


def _from_version_1(fields: dict[str, Any]) -> dict[str, Any]:
    """Upgrade the evaluations, which are those of manifests."""
    networks = [
        network | {"evaluations": split_sources(network.get("evaluations", []))}
        for network in fields.get("networks", [])
    ]
    return fields | {"networks": networks}


def _from_version_2(fields: dict[str, Any]) -> dict[str, Any]:
    """Keep all fields: version 3 allows `macs` to be unknown."""
    return fields


def _from_version_3(fields: dict[str, Any]) -> dict[str, Any]:
    """Keep all fields: version 4 adds hashes of the data of evaluations."""
    return fields


def _from_version_4(fields: dict[str, Any]) -> dict[str, Any]:
    """Keep all fields: version 5 adds the spread of times, and power."""
    return fields


_STEPS = (_from_version_1, _from_version_2, _from_version_3, _from_version_4)
