"""Where models run, and on how many of its cores each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnxruntime

from artifact.files import Artifact
from artifact.tuning import Choice, Machine
from service.resources import processor_name

SMALL_MACS = 250_000_000
"""Below this many multiply-accumulates an image, a network runs on one core, and several at once.

Measured on 2 cores (docs/benchmarks.md): two runs of one thread beat one of two by 8-150 % there,
and take one image 4 ms longer at most. Above, they gain less, and one image takes twice as long.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """
    Where models run.

    Attributes:
        policy: `cuda` or nothing, `cpu`, or `auto`: CUDA if it can be had.
        cores: Cores that the process may use.
        intra_op_threads: Threads inside one run on a CPU; 0 leaves it to what
            was tuned, or to the network's size.
    """

    policy: Literal["auto", "cuda", "cpu"]
    cores: int
    intra_op_threads: int = 0

    @property
    def machine(self) -> Machine:
        """What a tuning must have been measured on to be of use here."""
        return Machine(
            processor=processor_name(), cores=self.cores, onnxruntime=onnxruntime.__version__
        )

    def tuned(self, artifact: Artifact) -> Choice | None:
        """How the artifact runs best here, if somebody measured it and nothing else is set."""
        if self.intra_op_threads:
            return None
        tuning, sha256 = artifact.tuning, artifact.manifest.model_sha256
        holds = tuning is not None and tuning.holds_for(self.machine, sha256)
        return tuning.chosen if tuning is not None and holds else None

    def threads(self, artifact: Artifact) -> int:
        """Threads inside one run on a CPU: as set, or as tuned, or by the network's size."""
        if self.intra_op_threads:
            return min(self.intra_op_threads, self.cores)
        if choice := self.tuned(artifact):
            return choice.threads
        return 1 if artifact.manifest.macs < SMALL_MACS else self.cores
