"""Intervals of what was counted."""

from __future__ import annotations

import math


def wilson(correct: int, count: int) -> tuple[float, float]:
    """The 95 % interval of the share *correct* / *count* (Wilson, 1927), in `[0, 1]`."""
    z, share = 1.96, correct / count
    centre = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (centre - spread) / scale, (centre + spread) / scale
