"""bf16 is looked for among the processor's instructions."""

from pathlib import Path

import pytest

from convoy.service.machine.resources import has_bf16


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 rdpid", True),
        ("flags\t\t: fpu avx512f amx_bf16 amx_tile", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", False),
        ("", False),
    ],
)
def test_instructions(tmp_path: Path, flags: str, expected: bool) -> None:
    """
    AVX-512 BF16 or AMX; AVX-512 without them computes bf16 in software, more slowly than float32.
    """
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: a processor\n{flags}\n")
    assert has_bf16(tmp_path / "cpuinfo") == expected


def test_unknown(tmp_path: Path) -> None:
    """
    A system that does not say has none.
    """
    assert not has_bf16(tmp_path / "cpuinfo")
