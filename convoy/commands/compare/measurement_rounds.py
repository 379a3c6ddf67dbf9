"""Measurements of models in rounds: all models in turn, so that a disturbance affects all of them.

Only one session is open at a time, so that the memory of a model does not depend on the others.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np

from convoy.artifact.files import Artifact
from convoy.commands.compare import machine
from convoy.commands.compare.compare_settings import CompareSettings
from convoy.commands.compare.comparison_data import Batch, Comparison, Network
from convoy.commands.compare.published import PUBLISHED
from convoy.commands.measurement.artifacts import golden_images
from convoy.commands.measurement.energy import EnergyCounter, open_counter
from convoy.commands.measurement.progress import Progress
from convoy.export.onnx.memory import measure_memory
from convoy.service.errors import ModelLoadError
from convoy.service.machine.resources import usable_cpus
from convoy.service.runtime.device import Device
from convoy.service.runtime.session import Session

ROUNDS = 3


def measure(artifacts: Sequence[Artifact], settings: CompareSettings, show: Progress) -> Comparison:
    """
    Measure the time and memory of *artifacts*; after Ctrl-C, return the results so far.

    Models and batch sizes that fail, or that would not fit into memory, are omitted; the notes
    give the reasons.
    """
    threads = settings.threads or usable_cpus()
    device = Device(policy="cpu", cores=threads, intra_op_threads=threads)
    energy = open_counter()
    models = [_Model(artifact, settings.batch_sizes, energy) for artifact in artifacts]
    turns = [(number, model) for number in range(1, ROUNDS + 1) for model in models]
    notes, interrupted, turn = [], False, "before the first model"
    try:
        for done, (number, model) in enumerate(turns):
            turn = f"{model.name}, round {number} of {ROUNDS}"
            show(turn, done, len(turns))
            if number == 1:  # memory does not vary from round to round
                model.measure_memory()
            model.measure_times(device, settings.seconds / ROUNDS)
        show("done", len(turns), len(turns))
    except KeyboardInterrupt:
        interrupted = True
        notes.append(f"interrupted: {turn}")
    return Comparison(
        machine=machine.describe(device, energy.source if energy else ""),
        seconds=settings.seconds,
        networks=tuple(network for model in models if (network := model.network()).batches),
        notes=(*notes, *(note for model in models for note in model.notes())),
        interrupted=interrupted,
    )


class _Model:
    """One model and its measurements so far."""

    def __init__(
        self, artifact: Artifact, batch_sizes: Sequence[int], energy: EnergyCounter | None
    ) -> None:
        self.name = artifact.manifest.name
        self._artifact, self._energy = artifact, energy
        self._sizes = list(batch_sizes)  # without those that failed
        self._failed: dict[int, str] = {}
        self._weights_bytes = 0
        self._arena_peaks: dict[int, int] = {}
        self._seconds: dict[int, list[float]] = {size: [] for size in batch_sizes}
        self._joules = dict.fromkeys(batch_sizes, 0.0)

    def measure_memory(self) -> None:
        """Measure each batch size in a session of its own, the smallest first."""
        for size in list(self._sizes):
            if self._foreseen_bytes(size) > (free := machine.free_bytes()):
                self._drop(size, f"would not fit into the {free / 1e6:,.0f} MB that are free")
                continue
            try:
                memory = measure_memory(
                    self._artifact.model_path, golden_images(self._artifact, size)
                )
            except Exception as error:  # ONNX Runtime's errors share no base class
                self._drop(size, str(error))
                continue
            self._weights_bytes = memory.weights_bytes
            self._arena_peaks[size] = memory.arena_peak_bytes

    def measure_times(self, device: Device, seconds: float) -> None:
        """Run each batch size for *seconds*, and at least once."""
        if not self._sizes:  # every size has failed
            return
        try:
            session = Session(self._artifact, device)
        except ModelLoadError as error:  # no session, so no size can run
            for size in list(self._sizes):
                self._drop(size, str(error))
            return
        for size in list(self._sizes):
            try:
                self._run(session, size, seconds)
            except Exception as error:  # ONNX Runtime's errors share no base class
                self._drop(size, str(error))
        session.close()

    def network(self) -> Network:
        """Return the measurements with the facts of the manifest."""
        manifest = self._artifact.manifest
        return Network(
            name=manifest.name,
            version=manifest.version,
            architecture=manifest.architecture,
            precision=manifest.precision,
            input_px=manifest.input.height,
            parameters=manifest.parameter_count,
            macs=manifest.macs,
            weights_bytes=self._weights_bytes,
            evaluations=self._artifact.accuracies,
            published=PUBLISHED.get(manifest.architecture),
            batches=tuple(self._batch(size) for size in self._sizes if self._seconds[size]),
        )

    def notes(self) -> list[str]:
        """Return a line for each reason for which sizes were omitted."""
        sizes: dict[str, list[str]] = {}
        for size, reason in self._failed.items():
            sizes.setdefault(reason, []).append(str(size))
        return [
            f"{self.name}: no batches of {', '.join(found)}: {reason}"
            for reason, found in sizes.items()
        ]

    def _run(self, session: Session, size: int, seconds: float) -> None:
        images = golden_images(self._artifact, size)
        session.run(images)  # the first run of a size allocates its memory
        if self._energy:
            self._energy.joules()  # what was used until here is no run's
        end = time.perf_counter() + seconds
        stopped = 0.0
        while stopped < end:
            started = time.perf_counter()
            session.run(images)
            stopped = time.perf_counter()
            self._seconds[size].append(stopped - started)
        if self._energy:
            self._joules[size] += self._energy.joules()

    def _batch(self, size: int) -> Batch:
        seconds = self._seconds[size]
        low, high = (1000 * float(s) / size for s in np.percentile(seconds, (10, 90)))
        return Batch(
            batch_size=size,
            ms_per_image=round(1000 * statistics.median(seconds) / size, 5),
            ms_spread=(round(low, 5), round(high, 5)),
            runs=len(seconds),
            arena_peak_bytes=self._arena_peaks[size],
            watts=round(self._joules[size] / sum(seconds), 2) if self._energy else None,
        )

    def _foreseen_bytes(self, size: int) -> int:
        """Estimate the memory of a session for *size* from the largest batch so far; 0 if none."""
        largest = max(self._arena_peaks, default=0)
        if not largest:
            return 0
        # ONNX Runtime holds weights twice: as read, and packed for the processor.
        return 2 * self._weights_bytes + self._arena_peaks[largest] * size // largest

    def _drop(self, size: int, reason: str) -> None:
        self._sizes.remove(size)
        self._failed[size] = reason.partition("\n")[0]
