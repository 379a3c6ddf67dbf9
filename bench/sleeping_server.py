"""convoy with a device that only sleeps: `python -m bench.sleeping_server serve ...`.

Each run takes as long as ResNet-50 in float16 takes on an H100 (docs/explanation/benchmarks.md),
and no processor time. The scores are all 0, except for LeNet-5, which runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from convoy.__main__ import main
from convoy.service.app import Server
from convoy.service.process import main_process as process
from convoy.service.serving.loader import LoadedArtifact
from convoy.service.serving.served_model import ServedModel
from convoy.service.telemetry.batch_record import BatchTimes, Outputs

FIRST_IMAGE_S, FURTHER_IMAGE_S = 0.0005, 0.0000775
"""ResNet-50 on an H100: 0.5 ms for one image, and 11,000 images/s in batches of 32."""


class _Sleeper:
    """A runner that sleeps in place of *runner*."""

    def __init__(self, runner: Any, outputs: Sequence[str], classes: int) -> None:
        self.session = runner.session
        self.device_bytes = 0
        self._outputs = outputs
        self._classes = classes

    def run(self, items: Sequence[npt.NDArray[Any]]) -> tuple[list[Outputs], BatchTimes]:
        started = time.perf_counter()
        images = sum(map(len, items))
        # As on a device: the tensors are read once.
        batch = items[0] if len(items) == 1 else np.concatenate(items)
        joined = time.perf_counter()
        # As long for an image of any content.
        time.sleep(FIRST_IMAGE_S + FURTHER_IMAGE_S * (images - 1))
        scores = np.zeros((len(batch), self._classes), np.float32)
        ran, at, parts = time.perf_counter(), 0, []
        for item in items:
            parts.append({name: scores[at : at + len(item)] for name in self._outputs})
            at += len(item)
        return parts, BatchTimes(joined - started, ran - joined, time.perf_counter() - ran)

    def close(self) -> None:
        del self.session


class SleepingServer(Server):
    """A server whose large models only sleep."""

    def _serve(self, loaded: LoadedArtifact) -> ServedModel:
        manifest = loaded.manifest
        if manifest.name != "lenet5":
            names = [output.name for output in manifest.outputs]
            runner = _Sleeper(loaded.session.runner, names, len(manifest.labels))
            loaded.session.runner = runner
            loaded = replace(loaded, run_s={1: FIRST_IMAGE_S})
            # One run at a time, in a thread.
            loaded.session.cores, loaded.session.inline_size = self._device.cores, 0
        return super()._serve(loaded)


if __name__ == "__main__":
    vars(process)["Server"] = SleepingServer
    sys.exit(main())
