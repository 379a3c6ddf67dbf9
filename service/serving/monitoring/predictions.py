"""The log of predictions: a row for each sampled image, in files that a data frame reads.

`observe` is called on the event loop and only keeps the finished call. A thread makes rows of it,
and writes them to `model=NAME/day=YYYY-MM-DD/part-*.parquet`, so that a slow store never delays an
answer. What the queue cannot hold is dropped and counted. The model and the day are Hive partitions
(no columns of the files), and readers skip `_images`.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from convoy.artifact.manifest import Manifest
from convoy.artifact.signals import entropy, look, read_header
from convoy.service.call import Call, Model, Request
from convoy.service.errors import ScoresNotFiniteError, ServiceError
from convoy.service.serving.monitoring.parts import (
    Format,
    JsonLines,
    Parquet,
    PartWriter,
    Row,
)
from convoy.service.serving.monitoring.stores import Store
from convoy.service.serving.monitoring.worker import Finished, Repeated, Worker
from convoy.service.serving.top_k import DEFAULT_TOP_K, largest, probabilities
from convoy.service.telemetry.logs import redact

logger = logging.getLogger(__name__)

MAX_KNOWN_IMAGES = 100_000
"""Images whose hashes are remembered, so that they are written once."""

CLOSE_TIMEOUT_S = 5.0
"""Longest wait for the last parts when the server stops, in seconds."""


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
        self._writer = PartWriter(store, _format(), dropped=dropped)
        self._images: OrderedDict[str, None] = OrderedDict()
        self._worker = Worker(
            "prediction log",
            self._take,
            after_round=lambda: self._writer.write(time.monotonic()),
            # In the thread, too: a store that does not return must not hold up the end.
            at_end=self._writer.close,
            dropped=dropped,
            is_full=lambda: self._writer.is_full,
        )

    def observe(self, call: Call, model: Model, failure: ServiceError | None) -> None:
        """Keep a sampled request that has ended; called on the event loop."""
        if random.random() >= self._share(model):
            return
        # Without an error there are outputs, unless the client has disconnected.
        if failure is not None or call.outputs:
            self._worker.put(call, model, failure)

    def samples_repeated(self, model: Model, repeated: Repeated) -> bool:
        """
        Return whether to keep a request to *model* that a shadow also answered.

        If the versions disagree, it is always kept, unless the model is not logged at all.
        """
        share = self._share(model)
        return share > 0 and (not repeated.agrees.all() or random.random() < share)

    def keep_repeated(self, call: Call, model: Model, repeated: Repeated) -> None:
        """Keep a request that a shadow also answered; called on the event loop."""
        self._worker.put(call, model, None, repeated)

    def close(self) -> None:
        """Write what waits, for at most `CLOSE_TIMEOUT_S`, and stop."""
        if not self._worker.close(CLOSE_TIMEOUT_S):
            logger.warning("the last predictions were not logged")

    def _share(self, model: Model) -> float:
        shares = self._options.shares
        return shares.get(model.manifest.name, shares.get("*", 0.0))

    def _take(self, finished: Finished) -> None:
        rows = _rows(finished, self._client_name(finished.call.origin.token_digest))
        for row, data in zip(rows, finished.call.encoded, strict=False):
            # If the versions agree, the row of the version that served decides about the image.
            wanted = finished.failure is None and not row.get("agrees")
            self._add_image(row, data, keep=self._options.images and wanted)
        folder = f"model={finished.model.manifest.name}/day={finished.at:%Y-%m-%d}"
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
        self._writer.add_file(f"_images/{digest[:2]}/{digest}.{suffix}", data)


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
            **dict.fromkeys(("request_id", "trace_id", "client", "method"), pa.string()),
            "version": pa.int64(),
            **dict.fromkeys(("sha256", "reason"), pa.string()),
            "labels": pa.list_(pa.string()),
            "class_indices": pa.list_(pa.int32()),
            "probabilities": pa.list_(pa.float32()),
            **dict.fromkeys(("entropy", "brightness", "contrast"), pa.float32()),
            **dict.fromkeys(("image_sha256", "format"), pa.string()),
            **dict.fromkeys(("width", "height", "batch_size"), pa.int32()),
            **dict.fromkeys(("decode_s", "queue_s", "inference_s", "respond_s"), pa.float32()),
            "shadow_of": pa.int64(),
            "agrees": pa.bool_(),
            "served_label": pa.string(),
            "served_class_index": pa.int32(),
            "served_probability": pa.float32(),
        }
    )


def _rows(finished: Finished, client: str) -> list[Row]:
    """Return a row for each image of a call; those of a call that failed have no classes."""
    call, repeated = finished.call, finished.repeated
    manifest = repeated.manifest if repeated else finished.model.manifest
    phases = _phases(repeated.request) if repeated else call.phases
    common: Row = {
        "time": finished.at,
        # A client may send a token where its request's identifier belongs.
        "request_id": redact(call.origin.request_id),
        "trace_id": call.origin.sampled_trace,
        "client": client,
        "method": call.method,
        "version": manifest.version,
        "sha256": manifest.model_sha256,
        "reason": finished.failure.reason if finished.failure else "",
        "batch_size": repeated.request.batch_size if repeated else call.batch_size,
        **{f"{phase}_s": spent_s for phase, spent_s in phases.items()},
    }
    rows = [common.copy() for _ in range(call.images)]
    if isinstance(call.item, np.ndarray):
        seen = look([call.item], manifest.input, manifest.normalization)
        for name in ("brightness", "contrast"):
            for row, value in zip(rows, seen[name].tolist(), strict=True):
                row[name] = value
    if repeated:
        served = _answers(call, finished.model.manifest)
        for row, answer, agrees in zip(rows, served, repeated.agrees.tolist(), strict=True):
            row |= {
                "shadow_of": finished.model.version,
                "agrees": agrees,
                "served_label": answer["labels"][0],
                "served_class_index": answer["class_indices"][0],
                "served_probability": answer["probabilities"][0],
            }
    if finished.failure is None:
        answered = repeated.request if repeated else call
        for row, answer in zip(rows, _answers(answered, manifest), strict=True):
            row |= answer
    return rows


def _phases(request: Request) -> Mapping[str, float]:
    """Return the times of a request to a shadow, which decodes nothing and responds to nobody."""
    return {"queue": request.queue_s, "inference": request.inference_s}


def _answers(request: Request, manifest: Manifest) -> list[Row]:
    """Return the most probable classes of each image, and the entropy of its probabilities."""
    try:
        rows = probabilities(request.outputs, manifest)
    except ScoresNotFiniteError as error:  # tensors are answered with any scores
        return [{"reason": error.reason} for _ in range(request.images)]
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
