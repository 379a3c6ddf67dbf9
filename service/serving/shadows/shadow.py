"""A running shadow: answered requests are repeated on it, and both answers are compared.

Once a request is answered, its tensor becomes a request to the shadow. That request waits in the
queue of the shadow, which the scheduler serves last; it is dropped if it waits too long.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convoy.artifact.manifest import Manifest, OutputTensor
from convoy.service.batching.queue import SLACK
from convoy.service.call import Request
from convoy.service.engine import Tensor
from convoy.service.errors import (
    QueueFullError,
    RequestExpiredError,
    ScoresNotFiniteError,
    ShuttingDownError,
)
from convoy.service.serving.monitoring.worker import Repeated
from convoy.service.serving.served_model import ServedModel
from convoy.service.serving.shadows.comparison import Comparison, Probabilities
from convoy.service.serving.top_k import probabilities

logger = logging.getLogger(__name__)

PATIENCE_S = 1.0
"""Time limit for a request to a shadow to wait for an idle device, in seconds."""

_DROPPED = (QueueFullError, RequestExpiredError, ShuttingDownError)
"""Errors that say nothing about a shadow, because it did not run."""


OnEnd = Callable[[Repeated | None], None]
"""Called when a request to a shadow has ended; with None if it was not compared."""


def _ignore(_: Repeated | None) -> None:
    """Do nothing: nobody asks for the answer itself."""


@dataclass(slots=True, eq=False, kw_only=True)
class _ShadowRequest(Request):
    """A request to a shadow, with the one that was answered."""

    answered: Request
    on_end: OnEnd


class Shadow:
    """
    A version that runs on a share of the requests to the version that serves.

    Args:
        share: The share of these requests, in `(0, 1]`.

    Attributes:
        serving: The version that serves.
        model: The shadow.
        share: As given; may be changed.
        comparison: The comparison so far.
    """

    def __init__(self, serving: ServedModel, model: ServedModel, share: float) -> None:
        self.serving = serving
        self.model = model
        self.share = share
        self.comparison = Comparison()
        self._open: set[_ShadowRequest] = set()

    def samples(self) -> bool:
        """Return whether the next request is to be repeated."""
        return random.random() < self.share

    def repeat(
        self, answered: Request, tensor: Tensor, on_end: OnEnd = _ignore, *, copies: bool = False
    ) -> bool:
        """
        Run the tensor of an answered request on the shadow once the device is idle.

        Args:
            tensor: `[N, ...]` in the shape and dtype of the model's input.
            on_end: Called once, later, if it waits for that.
            copies: Whether to copy the tensor, because its memory is reused.

        Returns:
            Whether it waits; False if it is dropped at once.
        """
        model, images = self.model, answered.images
        # At most one batch waits, which bounds the memory of tensors that are kept.
        if model.queue_depth + images > model.max_batch_size:
            self.comparison.dropped += images
            return False
        patience_s = PATIENCE_S + SLACK * model.expected_s(images)
        request = _ShadowRequest(
            deadline=time.monotonic() + patience_s,
            on_done=self._done,
            answered=answered,
            on_end=on_end,
        )
        try:
            model.offer(request, tensor.copy() if copies else tensor)
        except _DROPPED:
            self.comparison.dropped += images
            return False
        self._open.add(request)
        model.hold()
        return True

    def stop(self) -> None:
        """Drop the requests that wait; one that is running ends without being compared."""
        for request in self._open:
            self.comparison.dropped += request.images
            self.model.withdraw(request)
            self.model.release()
            request.on_end(None)
        self._open.clear()

    def _done(self, request: _ShadowRequest) -> None:
        self._open.remove(request)
        self.model.release()
        error, request.error = request.error, None
        repeated = None
        try:
            repeated = self._compare(request, error)
        except Exception as fault:  # an internal error must not affect other requests of the batch
            logger.error("internal error", exc_info=fault)
        request.on_end(repeated)

    def _compare(self, request: _ShadowRequest, error: Exception | None) -> Repeated | None:
        """Compare both answers; return that of the shadow, or None if there is none to compare."""
        comparison, answered = self.comparison, request.answered
        if isinstance(error, _DROPPED):
            comparison.dropped += request.images
            return None
        serving = _probabilities(answered, self.serving.manifest)
        # The client sent a tensor whose scores are not finite: there is nothing to compare with.
        if serving is None:
            comparison.dropped += request.images
            return None
        shadow = None if error else _probabilities(request, self.model.manifest)
        if shadow is None:
            comparison.failed += request.images
            return None
        agrees = comparison.add(
            serving, shadow, is_multi_label=self.serving.manifest.is_multi_label
        )
        # Other requests in the batch would have made the run longer.
        if answered.batch_size == answered.images:
            comparison.add_runs(answered.inference_s, request.inference_s)
        return Repeated(request, self.model.manifest, agrees)


def mismatch(model: ServedModel, shadow: Manifest, max_batch_size: int) -> str:
    """
    Return why *shadow* cannot answer every request to *model*; empty if it can.

    Args:
        max_batch_size: Maximum number of images in one request to the shadow.
    """
    serving = model.manifest
    if serving.input != shadow.input:
        return "its input has another name, type, layout or size"
    # A large JPEG that is decoded at a smaller size looks the same.
    scaled = {"scaled_decoding": serving.preprocessing.scaled_decoding}
    if serving.preprocessing != shadow.preprocessing.model_copy(update=scaled):
        return "it preprocesses images in another way"
    # A graph normalises by itself; the server's normalisation is in the tensor.
    if serving.normalization != shadow.normalization and "server" in (
        serving.normalization.where,
        shadow.normalization.where,
    ):
        return "it normalises images in another way"
    if serving.labels != shadow.labels:
        return "its labels differ in name or order"
    if serving.is_multi_label != shadow.is_multi_label:
        return "only one of the two is a multi-label model"
    # Once promoted, it would refuse requests that its predecessor answers.
    if max_batch_size < model.max_batch_size:
        return f"it takes at most {max_batch_size} images in a request, not {model.max_batch_size}"
    return _lacking(serving, shadow)


def _lacking(serving: Manifest, shadow: Manifest) -> str:
    """Return which output of *serving* a shadow lacks; empty if it has them all."""
    outputs = {output.name: output for output in shadow.outputs}
    for output in serving.outputs:
        found = outputs.get(output.name)
        if found is None:
            return f"it has no output {output.name!r}"
        if _form(serving, output) != _form(shadow, found):
            return f"its output {output.name!r} has another type, shape or kind of scores"
    return ""


def _form(manifest: Manifest, output: OutputTensor) -> tuple[object, ...]:
    return output.kind, output.dtype, manifest.item_shape(output)


def _probabilities(request: Request, manifest: Manifest) -> Probabilities | None:
    """Return the probabilities of an answer; None if they are not finite."""
    try:
        return probabilities(request.outputs, manifest).astype(np.float64)
    except ScoresNotFiniteError:
        return None
