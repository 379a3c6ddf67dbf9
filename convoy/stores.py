"""Stores that fsspec reaches by URL: S3, GCS, Azure and others; their errors in one line."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from convoy.artifact.errors import RepositoryError
from convoy.artifact.store_logs import STORE_LOGGERS


class _Kind(NamedTuple):
    """
    A kind of store.

    Attributes:
        extra: The extra that installs its package.
        credentials: The variables, or the command, that set its credentials.
        address: The variable that replaces the address of the provider.
    """

    extra: str
    credentials: str
    address: str


_S3 = _Kind("s3", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile", "AWS_ENDPOINT_URL")
_GCS = _Kind(
    "gcs",
    "GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth application-default login`",
    "STORAGE_EMULATOR_HOST",
)
_AZURE = _Kind(
    "azure",
    "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
)
_KINDS = {
    "s3": _S3,
    **dict.fromkeys(("gcs", "gs"), _GCS),
    **dict.fromkeys(("abfs", "abfss", "az"), _AZURE),
}
"""The kinds of stores, by the scheme of a URL."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Numbers of the errors of a full disk, which no store returns."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_LIBRARIES = frozenset({*STORE_LOGGERS, "requests"})
"""Libraries whose errors are those of a store; many derive from Exception only."""

# Errors are recognised by type and text, as each library has its own types.
_NO_CREDENTIALS = re.compile(
    r"NoCredentials|PartialCredentials|CredentialRetrieval|DefaultCredentials"
    r"|anonymous|unable to locate credentials|account_name|unable to connect to account",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"PermissionError|Forbidden|AccessDenied|Access Denied|InvalidAccessKeyId|SignatureDoesNotMatch"
    r"|does not match|not authorized|authenticat|permission|\b40[13]\b",
    re.IGNORECASE,
)
_UNREACHABLE = re.compile(
    r"EndpointConnection|ConnectionError|ConnectionRefused|ConnectionReset|ClientConnector"
    r"|ServiceRequest|could not connect|cannot connect|timeout|timed out|name resolution",
    re.IGNORECASE,
)


def is_url(location: str) -> bool:
    """Return whether *location* is a URL, and not a path."""
    return bool(_URL.match(location))


def open_store(url: str) -> tuple[Any, str]:
    """
    Return the fsspec file system of *url*, and the path in it.

    Raises:
        RepositoryError: If there is no such kind of store, its package is not installed, or it
            cannot be opened without credentials.
    """
    try:
        import fsspec  # an extra

        # As in any other store, folders are not made beforehand.
        options = {"auto_mkdir": True} if url.startswith(("file:", "local:")) else {}
        store, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        kind = _kind(url)
        remedy = f"install the extra {kind.extra}" if kind else str(error)
        raise RepositoryError(f"cannot reach {url}: {remedy}") from error
    except Exception as error:  # each store raises the errors of its own library
        remedy = explain_store(error, url) if _kind(url) else str(error)
        raise RepositoryError(f"cannot reach {url}: {remedy}") from error
    return store, path


@contextmanager
def reaching(url: str, action: str = "read") -> Iterator[None]:
    """
    Raise `RepositoryError`, in one line with a remedy, for an error of a store in the block.

    With `read`, `FileNotFoundError` passes: callers know what may be absent.
    """
    try:
        yield
    except Exception as error:
        is_absent = isinstance(error, FileNotFoundError) and action == "read"
        if is_absent or not _is_of_store(error):
            raise
        raise RepositoryError(f"cannot {action} {url}: {explain_store(error, url)}") from error


def explain_store(error: Exception, url: str) -> str:
    """Return the cause of a store's error, and the remedy."""
    reason = _first_line(error)
    text = f"{type(error).__name__} {reason}"
    kind = _kind(url)
    if kind and (fault := _local_fault(error)):
        return fault
    if isinstance(error, FileNotFoundError):
        return "there is no such bucket or folder; create it, or check the URL"
    if _NO_CREDENTIALS.search(text):
        remedy = f"set {kind.credentials}" if kind else "provide them"
        return f"no credentials were found ({reason}); {remedy}"
    if isinstance(error, PermissionError) or _REFUSED.search(text):
        return f"the store refuses access ({reason}); check the credentials and their rights"
    if isinstance(error, ConnectionError | TimeoutError) or _UNREACHABLE.search(text):
        address = f", and {kind.address} if you set it" if kind else ""
        return f"the store cannot be reached ({reason}); check the network{address}"
    return f"{reason}; check the URL, the credentials, and that the store can be reached"


def _kind(url: str) -> _Kind | None:
    return _KINDS.get(url.partition(":")[0].lower())


def _local_fault(error: Exception) -> str:
    """Return the fault of this machine; empty if the error is the store's."""
    if not isinstance(error, OSError):
        return ""
    # Paths in a store begin with a bucket, and not with a slash.
    path = error.filename if isinstance(error.filename, str) else ""
    place = f" at {path}" if os.path.isabs(path) else ""
    if error.errno in _FULL:
        return f"{error.strerror} on this machine{place}; make room, or set TMPDIR to another disk"
    return f"{error.strerror} on this machine{place}" if place else ""


def _is_of_store(error: Exception) -> bool:
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _LIBRARIES


def _first_line(error: Exception) -> str:
    """Return the first line of an error, as some have identifiers on more lines."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
