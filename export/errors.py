"""What can stop an export or an import. Each message is one line for who typed the command."""

from __future__ import annotations


class ExportError(Exception):
    """Base class of everything that stops an export or an import."""


class DataError(ExportError):
    """The data set is unknown, empty or damaged."""


class GraphError(ExportError):
    """The ONNX file is damaged, or its graph is no classifier that the server could serve."""


class TrainingError(ExportError):
    """The training went astray: its loss is no number any more."""


class ProofError(ExportError):
    """The graph does not answer as its reference does; nothing was written."""


class WeightsError(ExportError):
    """The weights are not to be had, or are not those of the network."""


class PrecisionError(ExportError):
    """The network cannot do with the precision that was asked for."""
