"""A thread that works on finished requests, so that the event loop does not."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from convoy.artifact.manifest import Manifest
from convoy.service.call import Call, Model, Request
from convoy.service.errors import ServiceError

logger = logging.getLogger(__name__)

MAX_WAITING = 4096
"""Maximum number of requests that wait for a thread."""

MAX_WAITING_BYTES = 64 * 2**20
"""Maximum size in bytes of the images, tensors and outputs in these requests."""

ROUND_S = 0.25
"""Time between two rounds of a thread, in seconds: to wake it for each request would cost more."""


class Repeated(NamedTuple):
    """
    A request that was repeated on a shadow, which answered it.

    Attributes:
        request: The request to the shadow.
        manifest: The shadow's.
        agrees: Whether the most probable classes of both versions are the same: `[images]`.
    """

    request: Request
    manifest: Manifest
    agrees: npt.NDArray[np.bool_]


class Finished(NamedTuple):
    """
    A request that has ended: answered, or failed with an error.

    Attributes:
        repeated: The request to a shadow, if its answer is logged rather than the client's.
    """

    call: Call
    model: Model
    failure: ServiceError | None
    at: datetime
    repeated: Repeated | None = None


class Worker:
    """
    Takes finished requests in rounds; those beyond its bounds are dropped.

    Args:
        name: Name of the thread.
        work: Called with each request, in the thread.
        after_round: Called after each round, in the thread.
        at_end: Called after the last round, in the thread.
        dropped: Called with a reason and the number of images that were dropped for it.
        is_full: Tells whether requests must wait for now.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Finished], None],
        *,
        after_round: Callable[[], None] = lambda: None,
        at_end: Callable[[], None] = lambda: None,
        dropped: Callable[[str, int], None] = lambda reason, images: None,
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._work = work
        self._after_round = after_round
        self._at_end = at_end
        self._dropped = dropped
        self._is_full = is_full
        self._waiting: deque[tuple[Finished, int]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(
        self,
        call: Call,
        model: Model,
        failure: ServiceError | None,
        repeated: Repeated | None = None,
    ) -> None:
        """Keep a request for the next round; called on the event loop."""
        size = sum(map(len, call.encoded)) + getattr(call.item, "nbytes", 0) + _output_bytes(call)
        # Its tensor is that of the call.
        size += _output_bytes(repeated.request) if repeated else 0
        with self._lock:
            full = len(self._waiting) >= MAX_WAITING or self._bytes + size > MAX_WAITING_BYTES
            if not full:
                finished = Finished(call, model, failure, datetime.now(UTC), repeated)
                self._waiting.append((finished, size))
                self._bytes += size
        if full:
            self._dropped("queue_full", call.images)

    def close(self, timeout_s: float) -> bool:
        """Work on what waits, for at most *timeout_s*; return whether all of it is done."""
        self._stopping.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.wait(ROUND_S):
            self._work_off()
        self._work_off()
        # The last rounds took none of these.
        if self._waiting:
            self._dropped("stopped", sum(kept.call.images for kept, _ in self._waiting))
        self._call(self._at_end)

    def _work_off(self) -> None:
        """Begin a round; if it ends early, since files must be written first, begin others."""
        while self._round():
            pass

    def _round(self) -> bool:
        """Work on what waits; return whether requests are left, and can be taken now."""
        while self._waiting and not self._is_full():
            with self._lock:
                finished, size = self._waiting.popleft()
                self._bytes -= size
            try:
                self._work(finished)
            except Exception:  # other requests must not be lost for a fault of ours
                logger.exception("internal error")
                self._dropped("internal_error", finished.call.images)
        # Not those that come from here on: they are worked on together, in a later round.
        left = bool(self._waiting)
        self._call(self._after_round)
        return left and not self._is_full()

    def _call(self, then: Callable[[], None]) -> None:
        try:
            then()
        except Exception:  # a fault of ours must not end the thread
            logger.exception("internal error")


def _output_bytes(request: Request) -> int:
    return sum(values.nbytes for values in request.outputs.values())
