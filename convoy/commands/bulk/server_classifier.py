"""Running servers in place of the model: each gets as many requests as it does not refuse."""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from convoy.bulk.answers import Answer, Model
from convoy.bulk.images import Image, Unread, read
from convoy.client import Client
from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.connection import CredentialSettings
from convoy.results import Classification, ConvoyError
from convoy.service import errors
from convoy.service.serving.top_k import Prediction

MOST_IN_FLIGHT = 64
"""Maximum number of requests of this process at one server: two of a server's largest batches."""

RETRY_S = 0.05
"""Pause after a refusal, in seconds."""

OUTAGE_S = 60.0
"""Time without any answer after which the job ends, in seconds."""

_FAULTS_OF_IMAGES = {
    error.reason
    for error in (
        errors.InvalidImageError,
        errors.ImageTooLargeError,
        errors.RequestTooLargeError,
        errors.InferenceError,
        errors.ScoresNotFiniteError,
    )
}
_TRANSIENT = {"RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"}

_opening = threading.Lock()


@dataclass(frozen=True)
class ServerClassifier:
    """
    Classifies images with one version of a model on running servers; can be pickled.

    Args:
        version: 0 is the newest that the first server has.

    Raises:
        BulkError: On use, if a server cannot be reached, refuses, or has another model.
    """

    servers: tuple[str, ...]
    name: str
    version: int
    top_k: int
    timeout_s: float
    connection: CredentialSettings

    @property
    def model(self) -> Model:
        """The model, which this asks the servers for."""
        with _opening:
            return _open(self).model

    def answers(self, images: Iterable[Image]) -> Iterator[Answer]:
        """Classify a stream of images, in order."""
        with _opening:
            opened = _open(self)
        pending: deque[Future[Answer]] = deque()
        for image in images:
            while len(pending) >= opened.most_in_flight:
                yield pending.popleft().result()
            pending.append(opened.submit(image))
        while pending:
            yield pending.popleft().result()


class _Server:
    """A client of one server, and the number of requests that it accepts at once."""

    def __init__(self, client: Client, address: str) -> None:
        self.client = client
        self.address = address
        self.limit = 4.0
        self.in_flight = 0
        self.answered_at = time.monotonic()

    def accepted(self) -> None:
        self.answered_at = time.monotonic()
        self.limit = min(MOST_IN_FLIGHT, self.limit + 1 / self.limit)

    def refused(self) -> None:
        self.limit = max(1.0, self.limit / 2)

    @property
    def room(self) -> float:
        return self.limit - self.in_flight


class _Servers:
    """The servers, and the threads that wait for their answers."""

    def __init__(self, options: ServerClassifier) -> None:
        self._options = options
        self._servers = [
            _Server(
                Client(
                    address,
                    timeout_s=options.timeout_s,
                    credentials=options.connection.credentials(),
                    token=options.connection.token.get_secret_value(),
                ),
                address,
            )
            for address in options.servers
        ]
        self.model = self._find_model()
        self.most_in_flight = MOST_IN_FLIGHT * len(self._servers)
        self._threads = ThreadPoolExecutor(self.most_in_flight, thread_name_prefix="ask")
        self._changed = threading.Condition()
        # The time of the first refusal since the last answer; None if there was none.
        self._refused_since: float | None = None

    def submit(self, image: Image) -> Future[Answer]:
        """Read an image and ask a server, in a thread."""
        return self._threads.submit(self._answer, image)

    def _find_model(self) -> Model:
        name, version = self._options.name, self._options.version
        found: Model | None = None
        for server in self._servers:
            try:
                models = server.client.models()
            except ConvoyError as error:
                raise BulkError(f"{server.address}: {error}") from None
            versions = {m.version: m.sha256 for m in models if m.name == name}
            number = version or max(versions, default=0)
            if number not in versions:
                known = ", ".join(f"{m.name}:{m.version}" for m in models) or "none"
                asked = f"{name}:{version}" if version else name
                raise BulkError(f"{server.address} has no model {asked}; it has {known}")
            model = Model(name, number, versions[number])
            if found not in (None, model):
                raise BulkError(f"{server.address} has another {name}:{number} than the others")
            found, version = model, number
        assert found
        return found

    def _answer(self, image: Image) -> Answer:
        (data,) = read([image])
        if isinstance(data, Unread):
            return Answer(error=data.reason)
        assert not isinstance(data, np.ndarray)  # the command has encoded images only
        while True:
            server = self._take()
            try:
                answer = server.client.classify(
                    data,
                    model=self.model.name,
                    version=self.model.version,
                    top_k=self._options.top_k,
                )
            except ConvoyError as error:
                if (refusal := self._refusal(server, error)) is not None:
                    return refusal
                time.sleep(RETRY_S)
            else:
                self._accepted(server)
                return _converted(answer)
            finally:
                self._give_back(server)

    def _refusal(self, server: _Server, error: ConvoyError) -> Answer | None:
        """Return the row of an image that is at fault; None if another try may succeed."""
        # grpcio itself refuses a message above the server's limit, without a reason.
        is_too_large = error.code == "RESOURCE_EXHAUSTED" and not error.reason
        reason = errors.RequestTooLargeError.reason if is_too_large else error.reason
        if reason in _FAULTS_OF_IMAGES:
            self._accepted(server)
            return Answer(error=reason)
        server.refused()
        now = time.monotonic()
        since = self._refused_since = self._refused_since or now
        if error.code not in _TRANSIENT or now - since > OUTAGE_S:
            raise BulkError(f"{server.address}: {error}; continue with --resume") from None
        return None

    def _accepted(self, server: _Server) -> None:
        server.accepted()
        self._refused_since = None

    def _take(self) -> _Server:
        """Take a place at the server with the most room; wait until there is one."""
        with self._changed:
            while True:
                server = max(self._servers, key=lambda one: one.room)
                if server.room >= 1:
                    server.in_flight += 1
                    return server
                self._changed.wait()

    def _give_back(self, server: _Server) -> None:
        with self._changed:
            server.in_flight -= 1
            self._changed.notify(2)  # the limit may have grown


@functools.cache
def _open(options: ServerClassifier) -> _Servers:
    return _Servers(options)


def _converted(answer: Classification) -> Answer:
    return Answer([Prediction(p.class_index, p.label, p.probability) for p in answer.predictions])
