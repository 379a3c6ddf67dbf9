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
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from convoy.artifact.store_logs import QuietStores
from convoy.service.security.tokens import PREFIX, SEVERAL, bearer

# Identifiers of requests that have none: a random number for the process, and a counter within it.
_PROCESS = f"{random.getrandbits(64):016x}"
_NUMBERS = itertools.count()

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)

LIBRARY_LINES_PER_S = 10
"""Maximum lines per second of a library's logger that clients can cause to write."""

EXPORTER_PERIOD_S = 3600.0
"""Time in which a failure to send traces leaves one line, in seconds."""

# Also a part of a token that `convoy token` made: messages quote the beginning of a value.
_TOKEN = re.compile(rf"((?i:bearer) +)[\w.~+/-]{{16,}}|\b{PREFIX}[\w-]{{8,}}")


class Origin(NamedTuple):
    """
    The origin of a request, from its headers; the answer carries it back.

    Attributes:
        request_id: Identifier of the request.
        traceparent: The client's span in the form of W3C's Trace Context; empty if it sent none.
        token_digest: SHA-256 of its token; empty if it has none; `SEVERAL` if it has several
            Authorization headers. Never logged.
    """

    request_id: str
    traceparent: str = ""
    token_digest: bytes = b""

    @classmethod
    def from_headers(cls, pairs: Collection[tuple[str, Any]]) -> Origin:
        """
        Read a client's headers, or gRPC's metadata; malformed values are ignored.

        A request without an identifier gets one.

        Args:
            pairs: Names in lower case, and values; a name may occur several times.
        """
        headers = dict(pairs)
        request_id = headers.get("x-request-id", "")
        traceparent = headers.get("traceparent", "")
        authorization = headers.get("authorization", "")
        if not request_id or not _REQUEST_ID.fullmatch(request_id):
            # uuid4 would make a system call of 7 us; a request of a small network takes 30 us.
            request_id = f"{_PROCESS}{next(_NUMBERS):016x}"
        if traceparent and not _TRACEPARENT.fullmatch(traceparent):
            traceparent = ""
        digest = bearer(authorization) if authorization else b""
        # Proxies and servers differ in which of several they read: none of them counts.
        if len(headers) != len(pairs) and [name for name, _ in pairs].count("authorization") > 1:
            digest = SEVERAL
        return cls(request_id, traceparent, digest)

    @property
    def sampled_trace(self) -> str:
        """The identifier of the client's trace; empty if it has none, or does not sample it."""
        traceparent = self.traceparent
        # The last digit holds the flag `sampled`, its lowest bit.
        if not traceparent or not int(traceparent[-1], 16) & 1:
            return ""
        return traceparent[3:35]

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Names and values of the headers of the answer, over either transport."""
        named = (("x-request-id", self.request_id),)
        return (*named, ("traceparent", self.traceparent)) if self.traceparent else named


origin: ContextVar[Origin | None] = ContextVar("origin", default=None)
"""Origin of the request that the current task answers."""


class RateLimit:
    """
    A limit on the rate of log lines; it counts those that are left out.

    Args:
        lines: Maximum number of lines in a period.
        period_s: Its length, in seconds.
    """

    def __init__(self, lines: int, period_s: float = 1.0) -> None:
        self._lines = lines
        self._period_s = period_s
        self._until = -math.inf  # end of the current period
        self._written = 0
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """
        Ask for a line at *now*, in seconds on a monotonic clock.

        Returns:
            Number of lines left out since the last one was written; None to leave this out, too.
        """
        # Case 1: a new period begins.
        if now >= self._until:
            self._until, self._written = now + self._period_s, 0
        # Case 2: this period has its lines already.
        if self._written == self._lines:
            self._left_out += 1
            return None
        # Case 3: write the line, and report those that were left out before it.
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


class RateLimited:
    """
    A filter for the logger of a library, some of whose lines any client can cause.

    Args:
        per_s: Maximum number of lines in a second.
    """

    def __init__(self, per_s: int) -> None:
        self._limit = RateLimit(per_s)

    def __call__(self, record: logging.LogRecord) -> bool:
        """Return whether to write a record; state the number of those that were left out."""
        left_out = self._limit.take(time.monotonic())
        if left_out:
            record.lines_left_out = left_out
        return left_out is not None


class QuietExporter:
    """
    A filter that passes each kind of line of OpenTelemetry's once in `EXPORTER_PERIOD_S`.

    A collector that is down would fill the log otherwise: attempts, failures, and dropped spans.
    """

    def __init__(self) -> None:
        self._limits: dict[tuple[str, str], RateLimit] = defaultdict(
            lambda: RateLimit(1, EXPORTER_PERIOD_S)
        )

    def __call__(self, record: logging.LogRecord) -> bool:
        """Return whether to write a record; state the number of those that were left out."""
        if not record.name.startswith("opentelemetry."):
            return True
        # An attempt that is to be repeated is no failure yet.
        if record.name.startswith("opentelemetry.exporter.") and record.levelno < logging.ERROR:
            return False
        # The template of the message, not the message, which has varying times.
        left_out = self._limits[record.name, str(record.msg)].take(time.monotonic())
        if left_out:
            record.lines_left_out = left_out
        return left_out is not None


# Attributes of every record; all others come from `extra=`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(level: str, log_format: Literal["auto", "json", "text"]) -> None:
    """Send the log to standard error; call this once, at the start."""
    handler = logging.StreamHandler(sys.stderr)
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    handler.addFilter(QuietStores())
    handler.addFilter(QuietExporter())
    # `force`: a library may have configured the root logger while it was imported.
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("grpc").setLevel(logging.INFO)  # at level debug it logs each call
    for library in ("grpc._cython.cygrpc", "uvicorn.error"):
        logging.getLogger(library).addFilter(RateLimited(LIBRARY_LINES_PER_S))


def redact(text: str) -> str:
    """
    Replace tokens in *text*.

    No line is meant to hold one. This is for those of libraries, and for clients that send a token
    where their request's identifier or a model's name belongs.
    """
    # Almost no line needs the pattern, which takes as long as the rest of the line.
    if PREFIX not in text and "bearer " not in text.lower():
        return text
    return _TOKEN.sub(r"\1[token]", text)


@contextmanager
def request_origin(request: Origin) -> Iterator[None]:
    """Add an origin to the lines that the block logs."""
    token = origin.set(request)
    try:
        yield
    finally:
        origin.reset(token)


def fields(record: logging.LogRecord) -> dict[str, object]:
    """Return the values of `extra=`, and the origin of the request if there is one."""
    values = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if request := origin.get():
        values["request_id"] = request.request_id
        if request.traceparent:
            values["traceparent"] = request.traceparent
    return values


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, default=str, ensure_ascii=False))


class TextFormatter(logging.Formatter):
    """Formats a record as time, level, message, then the values."""

    def format(self, record: logging.LogRecord) -> str:
        values = " ".join(f"{key}={_escaped(value)}" for key, value in fields(record).items())
        line = f"{_timestamp(record)} {record.levelname:7} {record.getMessage()}  {values}".rstrip()
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return redact(line)


def _escaped(value: object) -> str:
    """Return a value as text on one line: clients may choose a part of it, and forge others."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
