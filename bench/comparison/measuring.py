"""Measures the models of a repository, one after the other, in rounds."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from artifact.errors import RepositoryError
from artifact.files import Artifact
from artifact.repository import ModelRepository
from bench.comparison.published import PUBLISHED
from bench.comparison.results import Batch, Comparison, Machine, Network
from bench.comparison.settings import CompareSettings
from export.cost import measure_memory
from service.runtime import Device, Session

ROUNDS = 3
"""Each model is measured so often, all models in turn: a disturbance meets all of them."""

Progress = Callable[[str, int, int], None]
"""Called with what is measured next, how much is done, and how much there is."""


def find(settings: CompareSettings) -> list[Artifact]:
    """
    The newest version of each model that is asked for.

    Raises:
        RepositoryError: If there is no such model, or none at all.
    """
    repository = ModelRepository(settings.model_repository)
    names = settings.models or tuple(repository.names())
    if not names:
        raise RepositoryError(f"{settings.model_repository} holds no models")
    artifacts = []
    for name in names:
        versions = repository.versions(name)
        if not versions:
            known = ", ".join(repository.names()) or "none"
            raise RepositoryError(f"no model {name!r} in the repository: known are {known}")
        artifacts.append(repository.read(name, max(versions)))
    return artifacts


def measure(artifacts: Sequence[Artifact], settings: CompareSettings, show: Progress) -> Comparison:
    """
    Measure time and memory of *artifacts*; where Ctrl-C comes, what is complete by then counts.

    One session is open at a time, so that memory does not depend on how many models there are.
    """
    device = Device(policy="cpu", intra_op_threads=settings.threads or os.cpu_count() or 1)
    times: dict[str, dict[int, list[float]]] = {}
    memory: dict[str, dict[int, int]] = {}
    total, done = len(artifacts) * (ROUNDS + 1), 0
    try:
        for round_number in range(ROUNDS + 1):
            for artifact in artifacts:
                name = artifact.manifest.name
                show(name, done, total)
                if round_number == 0:
                    memory[name] = _arena_peaks(artifact, settings.batch_sizes)
                else:
                    found = _times(artifact, device, settings)
                    for size, milliseconds in found.items():
                        times.setdefault(name, {}).setdefault(size, []).append(milliseconds)
                done += 1
    except KeyboardInterrupt:
        show("interrupted", done, total)
    return Comparison(
        machine=_machine(device),
        networks=tuple(
            _network(artifact, times[artifact.manifest.name], memory[artifact.manifest.name])
            for artifact in artifacts
            if artifact.manifest.name in times
        ),
    )


def _sizes(artifact: Artifact, wanted: Sequence[int]) -> list[int]:
    """Batch sizes that the graph takes."""
    return [size for size in wanted if size == 1 or artifact.manifest.max_batch_size > 1]


def _images(artifact: Artifact, size: int) -> npt.NDArray[np.generic]:
    """*size* images: the golden ones, repeated."""
    images = artifact.golden.images
    return np.resize(images, (size, *images.shape[1:]))


def _arena_peaks(artifact: Artifact, wanted: Sequence[int]) -> dict[int, int]:
    return {
        size: measure_memory(artifact.model_path, _images(artifact, size)).arena_peak_bytes
        for size in _sizes(artifact, wanted)
    }


def _times(artifact: Artifact, device: Device, settings: CompareSettings) -> dict[int, float]:
    """Milliseconds for each image, by the size of the batch."""
    session = Session(artifact, device)
    found = {}
    for size in _sizes(artifact, settings.batch_sizes):
        images = _images(artifact, size)
        session.run(images)  # the first one of a size finds its memory
        runs: list[float] = []
        end = time.perf_counter() + settings.seconds / ROUNDS
        while not runs or time.perf_counter() < end:
            started = time.perf_counter()
            session.run(images)
            runs.append(time.perf_counter() - started)
        found[size] = 1000 * statistics.median(runs) / size
    session.close()
    return found


def _network(artifact: Artifact, times: dict[int, list[float]], memory: dict[int, int]) -> Network:
    manifest = artifact.manifest
    assert manifest.memory is not None
    return Network(
        name=manifest.name,
        version=manifest.version,
        architecture=manifest.architecture,
        precision=manifest.precision,
        input_px=manifest.input.height,
        parameters=manifest.parameter_count,
        macs=manifest.macs,
        weights_bytes=manifest.memory.weights_bytes,
        accuracy=manifest.evaluations,
        published=PUBLISHED.get(manifest.architecture),
        batches=tuple(
            Batch(
                batch_size=size,
                ms_per_image=round(statistics.median(rounds), 4),
                arena_peak_bytes=memory[size],
            )
            for size, rounds in times.items()
        ),
    )


def _machine(device: Device) -> Machine:
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        threads=device.intra_op_threads,
        provider="CPUExecutionProvider",
        onnxruntime=version("onnxruntime"),
        measured_at=datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def _processor() -> str:
    """The name of the processor, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
