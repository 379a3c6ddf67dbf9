"""A float32 graph to its best int8 graph: all layers in 8 bits, or those that accuracy allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime import InferenceSession
from onnxruntime.quantization import TensorsData
from rich.console import Console

from convoy.artifact.manifest import Comparison, Scheme
from convoy.export.data import Split
from convoy.export.data.held_out import HeldOut
from convoy.export.errors import PrecisionError
from convoy.export.onnx.session import open_session
from convoy.export.quantization.conversion import convert
from convoy.export.quantization.interface import Interface
from convoy.export.quantization.preparation import prepare
from convoy.export.quantization.ranges import Growth, growth, measure_ranges
from convoy.export.quantization.selection import find_layers
from convoy.export.quantization.sensitivity import order_by_error
from convoy.export.quantization.verification import Bounds, compare, describe, objection

CALIBRATION_COUNT = 256
"""
Images to find ranges with. Measured on trained networks: with 16, int8 logits are up to 5 % of
their range off; with 256, 0.4 %; 1,000 are no better.
"""

_ERROR_COUNT = 8
"""Images to order layers by their error with."""

_LARGEST_SHARE = 0.5
"""Share of the layers that may stay in float32; with more of them, 8 bits are of little use."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """
    The images of a conversion.

    Attributes:
        data: Name of the images that the ranges are found with.
        calibration: These images, at least one, in random order.
        tests: Images to compare the result with float32 on.
    """

    data: str
    calibration: Split
    tests: Sequence[HeldOut]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantized:
    """
    An int8 graph and its differences from float32.

    Attributes:
        model: The graph.
        growth: What the second half of the images added to the ranges.
        float32_layers: Names of the layers that stayed in float32.
        comparisons: One for each test.
        scores: The scores of each test: `[N, classes]`.
        in_full: The graph with all layers in 8 bits, if some stayed in float32.
    """

    model: onnx.ModelProto
    scheme: Scheme
    growth: Growth
    float32_layers: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    scores: tuple[npt.NDArray[np.float32], ...]
    in_full: onnx.ModelProto | None


@dataclass(frozen=True, slots=True, eq=False)
class _Attempt:
    """A converted graph, and the reason to refuse it; empty if there is none."""

    model: onnx.ModelProto
    objection: str
    comparisons: tuple[Comparison, ...] = ()
    scores: tuple[npt.NDArray[np.float32], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Conversion:
    """
    A prepared graph, and all that its attempts share.

    Attributes:
        before: The scores of the float32 graph for each test.
    """

    model: onnx.ModelProto
    layers: Sequence[str]
    ranges: TensorsData
    interface: Interface
    material: Material
    scheme: Scheme
    bounds: Bounds
    before: Sequence[npt.NDArray[np.float32]]

    def attempt(self, without: Sequence[str] = ()) -> _Attempt:
        """Convert all layers but *without*, and compare the result with float32."""
        converted = convert(self.model, self.ranges, self.scheme, without=without)
        session = open_session(converted.SerializeToString())
        after = _scores(session, self.interface, self.material)
        if not all(np.isfinite(scores).all() for scores in after):
            return _Attempt(converted, "gives scores that are not finite numbers")
        pairs = zip(self.material.tests, self.before, after, strict=True)
        comparisons = tuple(compare(test, self.interface, one, two) for test, one, two in pairs)
        return _Attempt(converted, objection(comparisons, self.bounds), comparisons, after)

    def leave_out(self, console: Console) -> tuple[Sequence[str], _Attempt]:
        """
        Return the fewest layers that must stay in float32, and the attempt without them.

        Raises:
            PrecisionError: If even `_LARGEST_SHARE` of the layers are not enough.
        """
        images = self.material.calibration
        few = images.part(range(min(_ERROR_COUNT, len(images))))
        order = order_by_error(
            self.model, self.ranges, self.scheme, self.layers, self.interface, few, console
        )
        return _leave_out(order, self.attempt)


def quantize(
    source: Path,
    interface: Interface,
    material: Material,
    scheme: Scheme,
    bounds: Bounds,
    console: Console,
    before: Sequence[npt.NDArray[np.float32]] | None = None,
) -> Quantized:
    """
    Convert the graph of *source* to 8 bits; report findings to *console*.

    Args:
        before: The scores of *source* for each test, if they are known: `[N, classes]`.

    Raises:
        PrecisionError: If no graph within *bounds* is found, nothing can be converted, or the
            scores of *source* are not finite.
        DataError: If an image cannot be read.
        GraphError: If the graph cannot be converted.
    """
    model = prepare(source)
    layers = find_layers(model)
    if not layers:
        raise PrecisionError("the graph has no convolution or matrix product with weights")
    before = before or _scores(open_session(source), interface, material)
    _check_finite(before, material)
    # The second half tells how much more images would change.
    halves = _halves(material.calibration)
    half, ranges = measure_ranges(model, *(interface.batches(part) for part in halves))
    count = sum(len(test.images) for test in material.tests)
    console.print(f"comparing int8 with float32 on {count} images")
    conversion = _Conversion(
        model=model,
        layers=layers,
        ranges=ranges,
        interface=interface,
        material=material,
        scheme=scheme,
        bounds=bounds,
        before=before,
    )
    return _best(conversion, growth(half, ranges), console)


def _check_finite(before: Sequence[npt.NDArray[np.float32]], material: Material) -> None:
    for scores, test in zip(before, material.tests, strict=True):
        if failed := int((~np.isfinite(scores)).any(axis=1).sum()):
            raise PrecisionError(
                f"the float32 graph itself answers {failed} of {len(scores)} images of {test.name} "
                "with NaN or infinity: give other images, or mend the graph"
            )


def _best(conversion: _Conversion, grown: Growth, console: Console) -> Quantized:
    """Convert all layers, or those that the bounds allow."""
    kept: Sequence[str] = ()
    in_full = found = conversion.attempt()
    if in_full.objection:
        count = len(conversion.layers)
        console.print(f"with all {count} layers in 8 bits, the graph {in_full.objection}")
        kept, found = conversion.leave_out(console)
    for comparison in found.comparisons:
        console.print(describe(comparison, "int8"))
    return Quantized(
        model=found.model,
        scheme=conversion.scheme,
        growth=grown,
        float32_layers=tuple(layer for layer in conversion.layers if layer in kept),
        comparisons=found.comparisons,
        scores=found.scores,
        in_full=in_full.model if kept else None,
    )


def _scores(
    session: InferenceSession, interface: Interface, material: Material
) -> tuple[npt.NDArray[np.float32], ...]:
    """Return the scores of a graph for each test."""
    return tuple(interface.scores_of(session, test.images) for test in material.tests)


def _halves(images: Split) -> tuple[Split, Split]:
    """Return the first and the second half of *images*; one image is both."""
    middle = max(1, len(images) // 2)
    return images.part(range(middle)), images.part(range(min(middle, len(images) - 1), len(images)))


def _leave_out(
    order: Sequence[str], attempt: Callable[[Sequence[str]], _Attempt]
) -> tuple[Sequence[str], _Attempt]:
    """
    Return the fewest of the first layers in *order* that must stay in float32, and the attempt.

    Raises:
        PrecisionError: If even `_LARGEST_SHARE` of the layers are not enough.
    """
    most = max(1, int(_LARGEST_SHARE * len(order)))
    too_few, count = 0, 1
    # Twice as many each time, until it is enough.
    while (found := attempt(order[:count])).objection:
        if count == most:
            raise PrecisionError(
                f"with {most} of {len(order)} layers in float32, the int8 graph still "
                f"{found.objection}; serve float32, or allow more"
            )
        too_few, count = count, min(2 * count, most)
    # Then the fewest, between what was too few and what is enough.
    while count - too_few > 1:
        middle = (too_few + count) // 2
        candidate = attempt(order[:middle])
        if candidate.objection:
            too_few = middle
        else:
            count, found = middle, candidate
    return order[:count], found
