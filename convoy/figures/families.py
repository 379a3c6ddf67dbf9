"""The colour of each family of networks: the same in every figure and on the server's page.

`service/web/networks.js` and `service/web/colors.css` have the same table for the page. Under any
two colours, also as seen with protanopia, deuteranopia or tritanopia, the CIE 1976 difference is at
least 25, and each has a contrast of at least 3 with white (WCAG 2.2, 1.4.11).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

FAMILIES: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType(
    {
        "LeNet": (("lenet",), "#2e61ff"),
        "AlexNet": (("alexnet",), "#d07a00"),
        "VGG": (("vgg",), "#08a062"),
        "NIN": (("nin",), "#bf71d7"),
        "GoogLeNet, Inception": (("googlenet", "inception"), "#050e82"),
        "Plain": (("plain",), "#7c7989"),
        "ResNet": (("resnet",), "#9a1410"),
    }
)
"""Prefixes of a part of an architecture's name, and the colour; the first match counts."""

OTHER = "other"
OTHER_COLOR = "#44184c"

SERIES = (
    *("#2e61ff", "#d07a00", "#08a062", "#9a1410", "#bf71d7", "#050e82", "#7c7989", "#44184c"),
)
"""The same colours for series that are no networks, in an order that separates neighbours."""


def family(architecture: str) -> str:
    """Return the family to which an architecture belongs, by its name."""
    parts = architecture.lower().split("_")
    return next(
        (
            name
            for name, (starts, _) in FAMILIES.items()
            if any(part.startswith(starts) for part in parts)
        ),
        OTHER,
    )


def color(architecture: str) -> str:
    """Return the colour of an architecture's family."""
    found = FAMILIES.get(family(architecture))
    return found[1] if found else OTHER_COLOR
