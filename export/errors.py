"""Errors that stop an export or an import. Each message is one line for the user."""

from __future__ import annotations


class ExportError(Exception):
    """Base class of all errors that stop an export or an import."""


class DataError(ExportError):
    """The data set is unknown, empty or damaged."""


class GraphError(ExportError):
    """The ONNX file is damaged, or its graph is not a classifier that the server can serve."""


class ScratchError(ExportError):
    """The disk of temporary files is full, or cannot be written."""


class TrainingError(ExportError):
    """The training diverged, or its folder cannot be used."""


class ProofError(ExportError):
    """The graph's answers differ from those of its reference; nothing was written."""


class TrackingError(ExportError):
    """A tracker is not installed, or cannot record the training."""


class WeightsError(ExportError):
    """The weights are not available, or do not fit the network."""


class PrecisionError(ExportError):
    """The network loses too much with the requested precision."""
