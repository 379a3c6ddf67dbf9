"""The logs of the libraries that read and write object stores, without their repetitions."""

from __future__ import annotations

import logging

MAX_STORE_LINES = 1000
"""Maximum number of different lines of the store loggers that are written."""

STORE_LOGGERS = (
    *("adlfs", "aiobotocore", "aiohttp", "azure", "boto3", "botocore", "fsspec", "gcsfs", "google"),
    *("msal", "s3fs", "urllib3"),
)
"""
Loggers of the libraries that read object stores.

Each look at a repository makes them log again: requests with their headers, or the same warning.
"""


class QuietStores:
    """A filter that passes the warnings and errors of the store loggers, each of them once."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()

    def __call__(self, record: logging.LogRecord) -> bool:
        """Return whether to write a record."""
        if record.name.partition(".")[0] not in STORE_LOGGERS:
            return True
        line = (record.name, record.getMessage())
        is_new = line not in self._seen and len(self._seen) < MAX_STORE_LINES
        if record.levelno < logging.WARNING or not is_new:
            return False
        self._seen.add(line)
        record.exc_info = record.exc_text = None  # the error itself reaches the caller
        return True
