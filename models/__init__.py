"""The architectures, one file each, in plain PyTorch."""

from __future__ import annotations

from convoy.models.architectures import ARCHITECTURES, Architecture, drop_auxiliary

__all__ = ["ARCHITECTURES", "Architecture", "drop_auxiliary"]
