"""Logging: one line per event, JSON for machines, text for a terminal.

The message is a constant phrase; values go into `extra=`. Lines written while a request is being
answered carry its identifier.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Identifier of the request that the current task answers."""

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
def of_request(identifier: str) -> Iterator[None]:
    """Let the lines of the block carry *identifier*, whatever task writes them."""
    token = request_id.set(identifier)
    try:
        yield
    finally:
        request_id.reset(token)


def fields(record: logging.LogRecord) -> dict[str, object]:
    """What was given as `extra=`, and the identifier of the request if there is one."""
    values = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if identifier := request_id.get():
        values["request_id"] = identifier
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
