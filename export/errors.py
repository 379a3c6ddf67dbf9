"""What can stop an export. Each message is one line for the person who typed the command."""

from __future__ import annotations


class ExportError(Exception):
    """Base class of everything that stops an export."""


class DataError(ExportError):
    """The data set is unknown, empty or damaged."""


class TrainingError(ExportError):
    """The training went astray: its loss is no number any more."""


class ProofError(ExportError):
    """The exported graph does not answer as the network does; nothing was written."""
