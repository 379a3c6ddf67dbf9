"""The processor's instructions for products of 8 bits, and the types of numbers that suit them."""

from __future__ import annotations

import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from convoy.artifact.manifest import Scheme

CPU_INFO = Path("/proc/cpuinfo")

FEATURES = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx_vnni_int8", "amx_int8"),
    *("asimddp", "i8mm"),
)
"""Instructions that decide how fast and how exact products of 8 bits are, as Linux names them."""

_EXACT = {"avx_vnni", "avx512_vnni", "amx_int8"}
"""Instructions of x86 that add products of unsigned and signed bytes in 32 bits."""

_ARM = ("arm64", "aarch64")


@dataclass(frozen=True, slots=True)
class Processor:
    """
    The processor of this machine.

    Attributes:
        name: Its name, as the operating system gives it.
        features: Those of `FEATURES` that it has; none where the system does not say.
    """

    name: str
    features: tuple[str, ...]


def read_processor(path: Path = CPU_INFO) -> Processor:
    """Return this machine's processor, as the file *path* describes it."""
    fields: dict[str, str] = {}
    with suppress(OSError):  # not Linux
        for line in path.read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    words = fields.get("flags", fields.get("Features", "")).split()
    return Processor(
        name=fields.get("model name") or platform.processor() or platform.machine(),
        features=tuple(feature for feature in FEATURES if feature in words),
    )


def choose_scheme(features: tuple[str, ...], machine: str = platform.machine()) -> Scheme:
    """
    Return the types of activations and weights that this processor computes fast and exactly.

    Args:
        features: Some of `FEATURES`.
        machine: The architecture, as `platform.machine` names it.
    """
    # ONNX Runtime's kernels for Arm take two signed factors.
    if machine.lower() in _ARM:
        return "s8s8"
    # VNNI and AMX take an unsigned and a signed factor.
    if _EXACT.intersection(features):
        return "u8s8"
    # Without them, such pairs of products are added in 16 bits, which saturate: the logits are off
    # by 7 % of their range. Two unsigned factors are added in 32 bits, but no faster than float32.
    return "u8u8"
