"""The layers of a graph, ordered by the error that 8 bits in each of them alone cause."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import TensorsData
from rich.console import Console
from rich.progress import track

from convoy.artifact.manifest import Scheme
from convoy.export.data import Split
from convoy.export.onnx.session import open_session
from convoy.export.quantization.conversion import convert
from convoy.export.quantization.interface import Interface


def order_by_error(
    model: onnx.ModelProto,
    ranges: TensorsData,
    scheme: Scheme,
    layers: Sequence[str],
    interface: Interface,
    images: Split,
    console: Console,
) -> list[str]:
    """
    Return *layers*, those first whose conversion alone changes the scores of *images* most.

    Args:
        model: The prepared graph.
        layers: Names of nodes with weights.
        images: A few images: each layer is run on all of them.
    """

    def scores(graph: onnx.ModelProto) -> npt.NDArray[np.float32]:
        # Without optimisations: they take longer than these runs.
        session = open_session(graph.SerializeToString(), is_optimised=False)
        return interface.scores_of(session, images)

    before = scores(model)
    errors = {}
    hidden = not console.is_terminal
    for layer in track(
        layers, "error of each layer", console=console, transient=True, disable=hidden
    ):
        after = scores(convert(model, ranges, scheme, only=[layer]))
        # A layer whose error is not a number comes first.
        errors[layer] = float(np.nan_to_num(np.square(after - before), nan=np.inf).mean())
    return sorted(layers, key=lambda layer: -errors[layer])
