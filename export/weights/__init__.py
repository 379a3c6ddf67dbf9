"""Weights that others trained: torchvision's, timm's, or a file."""

from __future__ import annotations

from export.weights.loading import head_names, load_into
from export.weights.sources import PublicWeights, find_weights

__all__ = ["PublicWeights", "find_weights", "head_names", "load_into"]
