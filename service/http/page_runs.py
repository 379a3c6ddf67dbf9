"""Inferences that the page needs for itself, behind all requests of clients."""

from __future__ import annotations

from convoy.service.call import PRIORITIES, Call, Calls
from convoy.service.engine import Tensor
from convoy.service.serving.served_model import ServedModel
from convoy.service.telemetry.batch_record import Outputs


async def run_last(calls: Calls, model: ServedModel, batch: Tensor, whole: Call) -> Outputs:
    """
    Run a batch for the call *whole* at the lowest priority; count it as an inference.

    Args:
        batch: `[N, ...]` in the shape and dtype of the model's input.

    Raises:
        ServiceError: If the run fails or is refused.
    """
    with calls.open("ModelInfer", whole.origin) as call:
        call.priority = PRIORITIES[-1]
        call.use(model)
        await model.infer(call, batch)
        return call.outputs
