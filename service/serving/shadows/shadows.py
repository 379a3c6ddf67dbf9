"""The shadows of the server: which pairs of versions are compared, and the requests they get."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

from convoy.service.call import Call, Model, Request
from convoy.service.errors import NoShadowError, ServiceError, ShuttingDownError
from convoy.service.serving.monitoring.predictions import PredictionLog
from convoy.service.serving.monitoring.worker import Repeated
from convoy.service.serving.registry import ModelRegistry, ShadowPair
from convoy.service.serving.served_model import ServedModel
from convoy.service.serving.shadows.shadow import OnEnd, Shadow, mismatch
from convoy.service.telemetry.metrics import ShadowFacts

logger = logging.getLogger(__name__)


class Shadows:
    """
    Compares each shadow with the version that answers requests without a version.

    Owned by the event loop. Call `follow` whenever the registry has changed.

    Args:
        log: Keeps answers of the shadows; None if predictions are not logged.
    """

    def __init__(self, registry: ModelRegistry, log: PredictionLog | None) -> None:
        self._registry = registry
        self._log = log
        self._by_serving: dict[Model, Shadow] = {}
        self._closed = False

    def find(self, name: str) -> Shadow:
        """
        Return the shadow of a model.

        Raises:
            NoShadowError: If it has none.
            ShuttingDownError: If the server is shutting down.
        """
        self.check_open()
        for shadow in self._by_serving.values():
            if shadow.model.name == name:
                return shadow
        raise NoShadowError(f"model {name[:64]!r} has no shadow")

    def check_open(self) -> None:
        """Raise `ShuttingDownError` if the server is shutting down: every shadow has ended."""
        if self._closed:
            raise ShuttingDownError("the server is shutting down")

    def follow(self) -> None:
        """Compare the shadows that the registry has, each with the version that serves."""
        pairs: dict[Model, ShadowPair] = {}
        if not self._closed:
            pairs = {pair.serving: pair for pair in self._registry.shadows()}
        for serving, shadow in list(self._by_serving.items()):
            pair = pairs.get(serving)
            # The shadow was unloaded, loaded again or promoted, or another version serves.
            if pair is None or pair.shadow is not shadow.model:
                del self._by_serving[serving]
                shadow.stop()
                _log("shadow stopped", shadow)
        for pair in pairs.values():
            if known := self._by_serving.get(pair.serving):
                known.share = pair.share
            # On a mismatch, another version has begun to serve: the reconciler unloads this shadow.
            elif not mismatch(pair.serving, pair.shadow.manifest, pair.shadow.max_batch_size):
                shadow = Shadow(pair.serving, pair.shadow, pair.share)
                self._by_serving[pair.serving] = shadow
                _log("shadow started", shadow)

    def observe(self, call: Call, model: Model, failure: ServiceError | None) -> None:
        """Repeat a sampled request that was answered; see `call.Observer`."""
        # Most servers have no shadow.
        if not self._by_serving:
            return
        shadow = self._by_serving.get(model)
        # Without an error there are outputs, unless the client has disconnected.
        if shadow and failure is None and call.outputs and shadow.samples():
            shadow.repeat(call, call.item, partial(self._keep, call, model))

    def observe_slot(self, request: Request, model: ServedModel, on_end: OnEnd) -> bool:
        """
        Repeat a sampled request of a front; copy its tensor, whose slot is reused.

        Args:
            on_end: Called later if True is returned: with the answer of the shadow if the front has
                to log it, and else with None.
        """
        shadow = self._by_serving.get(model)
        if not shadow or not shadow.samples():
            return False
        if self._log is None:
            shadow.repeat(request, request.item, copies=True)
            return False
        end = partial(self._end, model, on_end)
        return shadow.repeat(request, request.item, end, copies=True)

    def close(self) -> None:
        """Stop every shadow: the server drains."""
        self._closed = True
        self.follow()

    def _keep(self, call: Call, model: Model, repeated: Repeated | None) -> None:
        """Log the answer of a shadow to a call of this process, if it is sampled."""
        if repeated and self._log and self._log.samples_repeated(model, repeated):
            self._log.keep_repeated(call, model, repeated)

    def _end(self, model: Model, on_end: OnEnd, repeated: Repeated | None) -> None:
        """Pass on the answer of a shadow to a request of a front, if it is sampled."""
        sampled = repeated and self._log and self._log.samples_repeated(model, repeated)
        on_end(repeated if sampled else None)

    def facts(self) -> Iterator[ShadowFacts]:
        """Describe the shadows, for the metrics."""
        for shadow in self._by_serving.values():
            yield ShadowFacts(
                model=shadow.model.name,
                version=shadow.model.version,
                share=shadow.share,
                outcomes=shadow.comparison.outcomes,
                estimates=shadow.comparison.estimates,
            )


def _log(event: str, shadow: Shadow) -> None:
    logger.info(
        event,
        extra={
            "model": shadow.model.name,
            "version": shadow.model.version,
            "serving_version": shadow.serving.version,
            **shadow.comparison.outcomes,
        },
    )
