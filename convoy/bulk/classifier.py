"""The object that engines call: cheap to make and to send, opened once in each process."""

from __future__ import annotations

import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from convoy.artifact.errors import RepositoryError
from convoy.artifact.files import ALL_FILES, Artifact, read_artifact
from convoy.bulk.answers import Answer, Model, answers_like, columns, images_in
from convoy.bulk.child_process import follow_parent
from convoy.bulk.images import Image, needs_reading, to_inputs
from convoy.service.errors import InferenceError, ScoresNotFiniteError
from convoy.service.machine.environment import read_variable
from convoy.service.machine.resources import usable_cpus
from convoy.service.runtime.device import Device
from convoy.service.runtime.session import Session
from convoy.service.serving.top_k import check_top_k, top_k
from convoy.stores import is_url, open_store, reaching

IN_FLIGHT = 2
"""Batches in memory at once: the one that runs, and the next, which is decoded meanwhile."""

_Decoding = Callable[[], list[npt.NDArray[Any] | str]]
"""Returns the items of a part of a batch, for which it may have to wait."""

_opening = threading.Lock()


@dataclass(frozen=True)
class Classifier:
    """
    Classifies images with one artifact, as a server does: same preprocessing, proof and answers.

    It holds its arguments only, so that it can be pickled and sent to workers. Once per process, on
    first use, it opens the artifact, verifies the hashes in its manifest, and replays its golden
    images on the device. Threads can share it.

    Args:
        artifact: The folder `<name>/<version>` of a model repository, or the URL of one in a store
            that fsspec reaches.
        top_k: Number of classes for each image, 1 to 1000.
        device: `cuda` (an error if it is not available), `cpu`, or `auto`: CUDA if available.
        threads: Threads that run the graph, and that decode. By default as many as the engine
            granted: `OMP_NUM_THREADS`, which Dask, Ray and Spark set for their workers, or else
            the processors that the affinity and the control group allow.
        decode_processes: Processes that decode, for a device that is faster than the threads of one
            process; 0 decodes in threads. The process must be one that may have children.

    Raises:
        ArtifactError: On first use, if the artifact is damaged.
        RepositoryError: On first use, if its store cannot be reached.
        ModelLoadError: On first use, if the graph cannot be opened, or not on this device.
        GoldenDriftError: On first use, if its answers drift from the golden ones.
    """

    artifact: str | Path
    top_k: int = 5
    device: Literal["auto", "cuda", "cpu"] = "auto"
    threads: int | None = None
    decode_processes: int = 0

    def __post_init__(self) -> None:
        check_top_k(self.top_k)

    def __call__(self, batch: Any, column: str = "image") -> Any:
        """
        Classify a batch of images.

        Args:
            batch: A sequence of images, an Arrow array, or a pandas series; or a table: an Arrow
                table or record batch, a pandas data frame, or a map of columns. An image is encoded
                bytes, the path or URL of a file, or pixels: uint8 `[H, W, C]` or `[H, W]`.
            column: The column of a table that holds the images.

        Returns:
            The columns `label`, `class_index`, `probability`, `top_k` (a list of structs), `error`,
            `model`, `version` and `sha256`. They are an Arrow table or a data frame if the batch
            is of that kind, with its other columns but without the images; else a dict of lists. A
            bad image is a row with the reason in `error`, and no answer.

        Raises:
            ValueError: If the batch has no such column, or one with the name of an answer's, or
                if it is one image, and not a sequence.
            RepositoryError: If a disk or a store fails.
        """
        answers = list(self.answers(images_in(batch, column)))
        return answers_like(batch, column, columns(answers, self.model))

    def answers(self, images: Iterable[Image]) -> Iterator[Answer]:
        """Classify a stream of images, in order; raises as `__call__`."""
        return _open(self).answers(images, self.top_k)

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """Yield the folder of the artifact, or a temporary copy of the one at a URL."""
        location = str(self.artifact)
        if not is_url(location):
            yield Path(location)
            return
        store, path = open_store(location)
        with tempfile.TemporaryDirectory(prefix="convoy-") as copy:
            try:
                with reaching(location):
                    for entry in store.ls(path, detail=False):
                        if (name := entry.rstrip("/").rpartition("/")[2]) in ALL_FILES:
                            store.get_file(entry, f"{copy}/{name}")
            except FileNotFoundError as error:
                raise RepositoryError(f"there is no artifact at {location}") from error
            yield Path(copy)

    @property
    def model(self) -> Model:
        """The model, which this opens."""
        manifest = _open(self).manifest
        return Model(manifest.name, manifest.version, manifest.model_sha256)


class _Opened:
    """A session with the threads that decode for it."""

    def __init__(self, artifact: Artifact, device: Device, processes: int) -> None:
        self.manifest = artifact.manifest
        self._session = Session(artifact, device)
        if self._session.on_gpu:
            self._session.warm()
        self._parts = processes or device.cores
        self._shares_core = self._parts == 1 and not processes and not self._session.on_gpu
        self._decoders: Executor = (
            ProcessPoolExecutor(processes, get_context("spawn"), follow_parent)
            if processes
            else ThreadPoolExecutor(device.cores, thread_name_prefix="decode")
        )

    def answers(self, images: Iterable[Image], count: int) -> Iterator[Answer]:
        """Decode the next batch while one runs, if that saves time."""
        images, decoding = iter(images), deque[list[_Decoding]]()
        while batch := list(islice(images, self._session.max_batch_size)):
            decoding.append([self._decode(part) for part in self._split(batch)])
            if len(decoding) == IN_FLIGHT:
                yield from self._run(decoding.popleft(), count)
        for parts in decoding:
            yield from self._run(parts, count)

    def _decode(self, part: Sequence[Image]) -> _Decoding:
        # On a single core, a decoder that waits for no disk or store only interrupts the network.
        if self._shares_core and not any(map(needs_reading, part)):
            return partial(to_inputs, part, self.manifest)
        return self._decoders.submit(to_inputs, part, self.manifest).result

    def _split(self, batch: Sequence[Image]) -> Iterator[Sequence[Image]]:
        """Split a batch into a part for each decoder."""
        size = -(-len(batch) // self._parts)
        return (batch[start : start + size] for start in range(0, len(batch), size))

    def _run(self, decoding: Sequence[_Decoding], count: int) -> Iterator[Answer]:
        inputs = [item for part in decoding for item in part()]
        good = [item for item in inputs if not isinstance(item, str)]
        answers = iter(self._answers(np.stack(good), count) if good else ())
        for item in inputs:
            yield Answer(error=item) if isinstance(item, str) else next(answers)

    def _answers(self, batch: npt.NDArray[Any], count: int) -> list[Answer]:
        """Run a batch; if it fails, bisect it, so that one image's fault is that image's alone."""
        try:
            found = top_k(self._session.run(batch), self.manifest, count)
            return [Answer(predictions) for predictions in found]
        except MemoryError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no base class
            if half := len(batch) // 2:
                return [*self._answers(batch[:half], count), *self._answers(batch[half:], count)]
            if isinstance(error, ScoresNotFiniteError):
                return [Answer(error=error.reason)]
            # The device is lost: it would refuse every other image, too.
            if not self._session.can_run():
                raise
            return [Answer(error=InferenceError.reason)]


def _open(classifier: Classifier) -> _Opened:
    threads = classifier.threads or granted_threads()
    # Threads that share a process would open it several times.
    with _opening:
        return _open_once(replace(classifier, top_k=1, threads=threads))


@cache
def _open_once(classifier: Classifier) -> _Opened:
    threads = classifier.threads or 1
    device = Device(policy=classifier.device, cores=threads, intra_op_threads=threads)
    with classifier._folder() as folder:
        return _Opened(read_artifact(folder), device, classifier.decode_processes)


def granted_threads() -> int:
    """Return the number of threads that the engine granted to this process, or the system."""
    granted = read_variable("OMP_NUM_THREADS") or ""
    usable = usable_cpus()
    return min(int(granted), usable) if granted.isdecimal() and int(granted) else usable
