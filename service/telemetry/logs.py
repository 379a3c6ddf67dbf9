"""Logging: one line per event, JSON for machines, text for a terminal.

The message is a constant phrase; values go into `extra=`. Lines written while a request is being
answered carry its identifier, and its trace.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import random
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from convoy.service.security.tokens import bearer

# Of requests whose clients gave them no identifier: told apart across processes by chance, within
# one by counting.
_PROCESS = f"{random.getrandbits(64):016x}"
_NUMBERS = itertools.count()

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


class Origin(NamedTuple):
    """
    Where a request comes from, as its client says; told back with the answer.

    Attributes:
        request_id: Identifier of the request.
        traceparent: The client's span, as W3C's Trace Context has it; empty if it named none.
        token_digest: SHA-256 of its token; empty if it has none. Never logged.
    """

    request_id: str
    traceparent: str = ""
    token_digest: bytes = b""

    @classmethod
    def told(cls, request_id: str, traceparent: str, authorization: str = "") -> Origin:
        """
        What a client told of itself; what is not sane is as if it were not there.

        A request without an identifier gets one.
        """
        if not request_id or not _REQUEST_ID.fullmatch(request_id):
            # Not uuid4: its system call takes 7 us, of a small network's 30 for a request.
            request_id = f"{_PROCESS}{next(_NUMBERS):016x}"
        if traceparent and not _TRACEPARENT.fullmatch(traceparent):
            traceparent = ""
        return cls(request_id, traceparent, bearer(authorization) if authorization else b"")

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Names and values that go back, over either transport."""
        named = (("x-request-id", self.request_id),)
        return (*named, ("traceparent", self.traceparent)) if self.traceparent else named


origin: ContextVar[Origin | None] = ContextVar("origin", default=None)
"""Of the request that the current task answers."""


class Ration:
    """
    For lines that may come in masses: so many a second are written, the others are counted.

    Args:
        per_s: Most lines in a second.
    """

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._until = -math.inf  # end of the present second
        self._written = 0
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """
        Ask for a line, at *now* in seconds of a clock that never goes back.

        Returns:
            How many were left out since the last one that was written; None if this is, too.
        """
        if now >= self._until:
            self._until, self._written = now + 1, 0
        if self._written == self._per_s:
            self._left_out += 1
            return None
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(level: str, log_format: Literal["auto", "json", "text"]) -> None:
    """Send the log to standard error; called once, at the start."""
    handler = logging.StreamHandler(sys.stderr)
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("grpc").setLevel(logging.INFO)  # it tells of each call at level debug


@contextmanager
def of_request(whose: Origin) -> Iterator[None]:
    """Let the lines of the block tell their origin, whatever task writes them."""
    token = origin.set(whose)
    try:
        yield
    finally:
        origin.reset(token)


def fields(record: logging.LogRecord) -> dict[str, object]:
    """What was given as `extra=`, and the origin of the request if there is one."""
    values = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if whose := origin.get():
        values["request_id"] = whose.request_id
        if whose.traceparent:
            values["traceparent"] = whose.traceparent
    return values


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        line: dict[str, object] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Time, level, phrase, then the values."""

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        values = " ".join(f"{key}={value}" for key, value in fields(record).items())
        line = f"{_timestamp(record)} {record.levelname:7} {record.getMessage()}  {values}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
