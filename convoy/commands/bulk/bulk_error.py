"""The error that ends a bulk job."""

from __future__ import annotations


class BulkError(Exception):
    """The job cannot go on; the message is one line, with the remedy."""
