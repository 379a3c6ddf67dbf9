"""The material of an import: the graph and what is known of it before it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from onnx import TensorProto

from convoy.artifact.golden import TOLERANCES
from convoy.export.data.held_out import HeldOut
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.outputs import Outputs
from convoy.export.importing.signature import Signature
from convoy.export.onnx.source import Source


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """
    The material of an import.

    Attributes:
        outputs: The graph's outputs, as they were completed.
        labels: Names of the classes; None if they are to be numbered.
        advice: Remedy to add to an error if labels or options were found, not given.
        images: Test images: `[N, ...]` as the graph takes them.
        given: How many of them, the first ones, were given by the user.
        unseen: Images for the baseline of drift; None for no baseline.
        rounding: Difference that the quantisation of the scores makes, as a share of their range.
    """

    settings: ImportSettings
    source: Source
    signature: Signature
    outputs: Outputs
    labels: tuple[str, ...] | None
    advice: str
    images: npt.NDArray[Any]
    given: int
    unseen: HeldOut | None = None
    rounding: float = 0

    @property
    def tolerance(self) -> float:
        """Largest difference from the golden answers, as a share of their range."""
        return self.settings.golden_tolerance or self.usual_tolerance

    @property
    def usual_tolerance(self) -> float:
        """The same for the graph's type of numbers, without regard to --golden-tolerance."""
        usual = [TOLERANCES[self.source.precision], TOLERANCES.get(self.signature.tensor.dtype, 0)]
        # Scores that are rounded to float16 at the end.
        elements = {o.type.tensor_type.elem_type for o in self.source.model.graph.output}
        half = TOLERANCES["float16"] if TensorProto.FLOAT16 in elements else 0
        return max(*usual, half, self.rounding)
