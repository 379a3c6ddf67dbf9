"""The common interface of everything that describes a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convoy.export.importing.signature import GraphShape

Options = dict[str, Any]
"""Values of `ImportSettings`, by name."""


@dataclass(frozen=True, slots=True)
class Companion:
    """
    A description of a graph. Subclasses read one format; each method returns what it states.

    The methods may raise whatever Python raises for values that are not as the format has them,
    and `DataError` where images cannot be prepared in this way.

    Attributes:
        name: The file, for messages.
        fields: Its content.
    """

    name: str
    fields: Mapping[str, Any]

    def labels(self) -> list[Any] | None:
        """Return the names of the classes, in their order."""
        return None

    def sizes(self, shape: GraphShape) -> Options:
        """Return how images are resized and cropped."""
        return {}

    def filter(self) -> Options:
        """Return how pixels are interpolated."""
        return {}

    def channels(self, shape: GraphShape) -> Options:
        """Return the order of channels, and that of dimensions if *shape* leaves it open."""
        return {}

    def values(self) -> Options:
        """Return how pixels are normalised."""
        return {}
