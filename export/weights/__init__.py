"""Weights that others trained: torchvision's, timm's, or a file."""

from __future__ import annotations

from convoy.export.weights.sources import (
    FileOptions,
    PublicWeights,
    file_options,
    find_weights,
    numbered_labels,
)
from convoy.export.weights.state_dict import head_names, load_into

__all__ = [
    "FileOptions",
    "PublicWeights",
    "file_options",
    "find_weights",
    "head_names",
    "load_into",
    "numbered_labels",
]
