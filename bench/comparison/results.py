"""What a comparison found: plain data, written as JSON and read again."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from artifact.manifest import Evaluation
from bench.comparison.published import Published


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Batch(_Part):
    """
    One batch size of one network.

    Attributes:
        ms_per_image: Median time of a run, divided by its images.
        arena_peak_bytes: Most memory that a run needs beside the weights.
    """

    batch_size: int
    ms_per_image: float
    arena_peak_bytes: int


class Network(_Part):
    """
    One model of the repository.

    Attributes:
        macs: Multiply-accumulates for one image of `input_px`.
        accuracy: What was measured of these weights, on the data that it names.
        published: What others published of the architecture, on ImageNet.
        batches: What was measured; sizes that the model does not take are left out.
    """

    name: str
    version: int
    architecture: str
    precision: str
    input_px: int
    parameters: int
    macs: int
    weights_bytes: int
    accuracy: tuple[Evaluation, ...]
    published: Published | None
    batches: tuple[Batch, ...]

    @property
    def top1(self) -> float | None:
        """Accuracy on the first data that it was measured on here."""
        measured = [found for found in self.accuracy if found.source == "measured"]
        return measured[0].top1 if measured else None

    @property
    def published_top1(self) -> float | None:
        """Accuracy that others published of the architecture, on ImageNet."""
        return self.published.top1 if self.published else None

    @property
    def fastest(self) -> Batch:
        """The batch size with the least time for each image."""
        return min(self.batches, key=lambda batch: batch.ms_per_image)

    def batch(self, size: int) -> Batch | None:
        """What was measured with batches of *size*."""
        return next((batch for batch in self.batches if batch.batch_size == size), None)


class Machine(_Part):
    """Where speed and memory were measured."""

    processor: str
    cores: int
    threads: int
    provider: str
    onnxruntime: str
    measured_at: str


class Comparison(_Part):
    """All of it."""

    schema_version: Literal[1] = 1
    machine: Machine
    networks: tuple[Network, ...]
