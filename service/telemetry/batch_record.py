"""The outputs of a batch, and the times of its run."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy.typing as npt

Outputs = dict[str, npt.NDArray[Any]]
"""Output name -> array `[N, ...]`."""


class BatchTimes(NamedTuple):
    """
    The parts of one run, in seconds, and the padding of its batch.

    Attributes:
        input_s: Joining the tensors of its requests.
        infer_s: Running the graph, and moving tensors to and from its device.
        output_s: Splitting the outputs.
        padding: Images that were added to reach a batch size that the device runs.
    """

    input_s: float
    infer_s: float
    output_s: float
    padding: int = 0


NO_TIMES = BatchTimes(0.0, 0.0, 0.0)
