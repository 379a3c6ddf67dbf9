from pathlib import Path

import pytest

from convoy.export.quantization.processor import Processor, choose_scheme, read_processor

EPYC = """processor\t: 0
model name\t: AMD EPYC 9B45
flags\t\t: fpu sse2 avx avx2 avx512f avx512_vnni avx512_bf16

processor\t: 1
model name\t: AMD EPYC 9B45
flags\t\t: fpu sse2 avx avx2
"""
GRAVITON = """processor\t: 0
Features\t: fp asimd asimddp i8mm bf16
"""


def test_processor_is_read(tmp_path: Path) -> None:
    """
    The first processor counts, and only the features that matter.
    """
    file = tmp_path / "cpuinfo"
    file.write_text(EPYC)
    assert read_processor(file) == Processor("AMD EPYC 9B45", ("avx2", "avx512f", "avx512_vnni"))
    file.write_text(GRAVITON)
    assert read_processor(file).features == ("asimddp", "i8mm")


def test_system_that_says_nothing(tmp_path: Path) -> None:
    """
    Without the file of Linux there is a name, but no feature.
    """
    found = read_processor(tmp_path / "missing")
    assert found.name
    assert found.features == ()


@pytest.mark.parametrize(
    ("features", "machine", "scheme"),
    [
        (("avx2", "avx512f", "avx512_vnni"), "x86_64", "u8s8"),
        (("avx2", "avx_vnni"), "x86_64", "u8s8"),
        (("avx2", "avx512f", "avx512_vnni", "amx_int8"), "x86_64", "u8s8"),
        (("avx2",), "x86_64", "u8u8"),
        (("avx2", "avx512f"), "AMD64", "u8u8"),
        ((), "x86_64", "u8u8"),
        (("asimddp", "i8mm"), "aarch64", "s8s8"),
        ((), "arm64", "s8s8"),
    ],
)
def test_scheme_suits_the_processor(features: tuple[str, ...], machine: str, scheme: str) -> None:
    """
    Signed weights need instructions that do not saturate, or an Arm processor.
    """
    assert choose_scheme(features, machine) == scheme
