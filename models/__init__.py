"""The architectures, one file each, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from models.lenet import lenet5


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """
    One network of `ARCHITECTURES`.

    Attributes:
        build: Makes the network with fresh weights; takes `num_classes`.
        input_px: Side of the square input it was designed for, in pixels.
        channels: Colour channels of the input: 1 (grey) or 3 (RGB).
        source: The paper.
    """

    build: Callable[..., nn.Module]
    input_px: int
    channels: int
    source: str


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "lenet5": Architecture(
            build=lenet5,
            input_px=32,
            channels=1,
            source="LeCun, Bottou, Bengio, Haffner. Gradient-Based Learning Applied to Document "
            "Recognition. Proceedings of the IEEE 86(11), 1998",
        ),
    }
)
"""Every network that convoy can export, by name."""

__all__ = ["ARCHITECTURES", "Architecture"]
