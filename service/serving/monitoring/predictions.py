"""The log of predictions: a row for each sampled image, in files that a data frame reads.

`observe` is called on the event loop and only keeps the finished call. A thread makes rows of it,
and writes them to `<model=NAME>/<day=YYYY-MM-DD>/part-*.parquet`, so that a slow store never delays
an answer. What the queue cannot hold is dropped and counted.
"""

from __future__ import annotations

import hashlib
import logging
import random
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from convoy.artifact.manifest import Manifest
from convoy.artifact.signals import entropy, light, read_header
from convoy.service.call import Call, Model
from convoy.service.errors import ScoresNotFiniteError, ServiceError
from convoy.service.serving.monitoring.parts import (
    Format,
    JsonLines,
    Parquet,
    PartWriter,
    Row,
    Store,
)
from convoy.service.serving.top_k import DEFAULT_TOP_K, largest, probabilities

logger = logging.getLogger(__name__)

MAX_WAITING = 4096
"""Most calls that wait for the thread."""

MAX_WAITING_BYTES = 64 * 2**20
"""Most bytes of images and tensors in these calls."""

MAX_KNOWN_IMAGES = 100_000
"""Images whose hashes are remembered, so that they are written once."""

ROUND_S = 0.25
"""Time between two rounds of the thread, in seconds."""

CLOSE_TIMEOUT_S = 5.0
"""Longest wait for the last parts when the server stops, in seconds."""


class _Kept(NamedTuple):
    """A finished call that waits for the thread."""

    call: Call
    manifest: Manifest
    at: datetime
    failure: ServiceError | None
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """
    Options of a log.

    Attributes:
        shares: The share of calls that are logged, in `[0, 1]`, by model; * for all others.
        images: Whether it keeps encoded images, too.
    """

    shares: Mapping[str, float]
    images: bool = False


class PredictionLog:
    """
    Writes rows of sampled calls to *store*.

    Args:
        client_name: Returns the name of the token with a SHA-256; empty if there is none.
        dropped: Called with a reason and the number of rows that were dropped for it.
    """

    def __init__(
        self,
        store: Store,
        options: LogOptions,
        *,
        client_name: Callable[[bytes], str],
        dropped: Callable[[str, int], None],
    ) -> None:
        self._options = options
        self._client_name = client_name
        self._dropped = dropped
        self._waiting: deque[_Kept] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._writer = PartWriter(store, _format(), dropped=dropped)
        self._images: OrderedDict[str, None] = OrderedDict()
        self._thread = threading.Thread(target=self._run, name="prediction log", daemon=True)
        self._thread.start()

    def observe(self, call: Call, model: Model, failure: ServiceError | None) -> None:
        """Keep a sampled call that has ended; called on the event loop."""
        shares, manifest = self._options.shares, model.manifest
        # The client has disconnected: there is neither an answer nor an error.
        if failure is None and not call.outputs:
            return
        if random.random() >= shares.get(manifest.name, shares.get("*", 0.0)):
            return
        size = sum(map(len, call.encoded)) + getattr(call.item, "nbytes", 0)
        with self._lock:
            full = len(self._waiting) >= MAX_WAITING
            if full or self._waiting_bytes + size > MAX_WAITING_BYTES:
                self._dropped("queue_full", call.images)
                return
            self._waiting.append(_Kept(call, manifest, datetime.now(UTC), failure, size))
            self._waiting_bytes += size

    def close(self) -> None:
        """Write what waits, for at most `CLOSE_TIMEOUT_S`, and stop."""
        self._stopping = True
        self._wake.set()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            logger.warning("the last predictions were not logged")

    def _run(self) -> None:
        # In rounds: to wake the thread for each call would cost the event loop more than the call.
        while not self._stopping:
            self._wake.wait(ROUND_S)
            self._take_waiting()
            self._writer.write(time.monotonic())
        self._take_waiting()
        self._writer.close()

    def _take_waiting(self) -> None:
        # While the store fails, calls stay in the queue, which is bounded.
        while self._waiting and not self._writer.is_full:
            with self._lock:
                kept = self._waiting.popleft()
                self._waiting_bytes -= kept.size
            try:
                self._take(kept)
            except Exception:  # the rows of other calls must not be lost for a fault of ours
                logger.exception("internal error")
                self._dropped("internal_error", kept.call.images)

    def _take(self, kept: _Kept) -> None:
        rows = _rows(kept, self._client_name(kept.call.origin.token_digest))
        for row, data in zip(rows, kept.call.encoded, strict=False):
            self._add_image(row, data, keep=self._options.images and kept.failure is None)
        folder = f"model={kept.manifest.name}/day={kept.at:%Y-%m-%d}"
        self._writer.add(folder, rows, time.monotonic())

    def _add_image(self, row: Row, data: bytes, *, keep: bool) -> None:
        digest = row["image_sha256"] = hashlib.sha256(data).hexdigest()
        header = read_header(data)
        if header:
            row |= {"format": header.format, "width": header.width, "height": header.height}
        # An image that many clients send is written once; after a restart, once more.
        if not keep or digest in self._images:
            return
        self._images[digest] = None
        if len(self._images) > MAX_KNOWN_IMAGES:
            self._images.popitem(last=False)
        suffix = header.format.lower() if header else "bin"
        self._writer.add_file(f"images/{digest[:2]}/{digest}.{suffix}", data)


def _format() -> Format:
    try:
        return Parquet(_schema())
    except ImportError:
        logger.warning("writing JSON Lines: install the extra predictions for Parquet")
        return JsonLines()


def _schema() -> Any:
    """Return the Arrow schema of the log."""
    import pyarrow as pa  # an extra

    return pa.schema(
        {
            "time": pa.timestamp("us", "UTC"),
            **dict.fromkeys(("request_id", "trace_id", "client", "method", "model"), pa.string()),
            "version": pa.int32(),
            **dict.fromkeys(("sha256", "reason"), pa.string()),
            "labels": pa.list_(pa.string()),
            "class_indices": pa.list_(pa.int32()),
            "probabilities": pa.list_(pa.float32()),
            **dict.fromkeys(("entropy", "brightness", "contrast"), pa.float32()),
            **dict.fromkeys(("image_sha256", "format"), pa.string()),
            **dict.fromkeys(("width", "height", "batch_size"), pa.int32()),
            **dict.fromkeys(("decode_s", "queue_s", "inference_s", "respond_s"), pa.float32()),
        }
    )


def _rows(kept: _Kept, client: str) -> list[Row]:
    """Return a row for each image of a call; those of a call that failed have no classes."""
    call, manifest = kept.call, kept.manifest
    common: Row = {
        "time": kept.at,
        "request_id": call.origin.request_id,
        "trace_id": call.origin.sampled_trace,
        "client": client,
        "method": call.method,
        "model": manifest.name,
        "version": manifest.version,
        "sha256": manifest.model_sha256,
        "reason": kept.failure.reason if kept.failure else "",
        "batch_size": call.batch_size,
        **{f"{phase}_s": spent_s for phase, spent_s in call.phases.items()},
    }
    rows = [common.copy() for _ in range(call.images)]
    if isinstance(call.item, np.ndarray):
        bright, contrast = light(call.item, manifest.input, manifest.normalization)
        for row, *values in zip(rows, bright.tolist(), contrast.tolist(), strict=True):
            row["brightness"], row["contrast"] = values
    if kept.failure is None:
        for row, answer in zip(rows, _answers(kept), strict=True):
            row |= answer
    return rows


def _answers(kept: _Kept) -> list[Row]:
    """Return the most probable classes of each image, and the entropy of its probabilities."""
    manifest = kept.manifest
    try:
        rows = probabilities(kept.call.outputs, manifest)
    except ScoresNotFiniteError as error:  # tensors are answered with any scores
        return [{"reason": error.reason} for _ in range(kept.call.images)]
    best = largest(rows, min(DEFAULT_TOP_K, rows.shape[1]))
    # Probabilities that are independent of each other are no distribution.
    spread = [None] * len(rows) if manifest.is_multi_label else entropy(rows).tolist()
    return [
        {
            "class_indices": indices.tolist(),
            "labels": [manifest.labels[index] for index in indices],
            "probabilities": row[indices].tolist(),
            "entropy": value,
        }
        for row, indices, value in zip(rows, best, spread, strict=True)
    ]
