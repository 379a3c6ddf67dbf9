"""Stores that fsspec reaches by URL: S3, GCS, Azure and others."""

from __future__ import annotations

import re
from typing import Any

from convoy.artifact.errors import RepositoryError

_EXTRAS = {
    "s3": "s3",
    **dict.fromkeys(("gcs", "gs"), "gcs"),
    **dict.fromkeys(("abfs", "abfss", "az"), "azure"),
}
"""The extra with the package of each kind of store, by the scheme of a URL."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_url(location: str) -> bool:
    """Return whether *location* is a URL, and not a path."""
    return bool(_URL.match(location))


def open_store(url: str) -> tuple[Any, str]:
    """
    Return the fsspec file system of *url*, and the path in it.

    Raises:
        RepositoryError: If there is no such kind of store, or its package is not installed.
    """
    try:
        import fsspec  # an extra

        # As in any other store, folders are not made beforehand.
        options = {"auto_mkdir": True} if url.startswith(("file:", "local:")) else {}
        store, path = fsspec.core.url_to_fs(url, **options)
    except ValueError as error:
        raise RepositoryError(f"cannot reach {url}: {error}") from error
    except ImportError as error:
        extra = _EXTRAS.get(url.partition(":")[0])
        remedy = f"install the extra {extra}" if extra else str(error)
        raise RepositoryError(f"cannot reach {url}: {remedy}") from error
    return store, path
