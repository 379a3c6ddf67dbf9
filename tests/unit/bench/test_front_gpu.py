"""The table of front processes before a GPU."""

import pytest

from bench.front_gpu import Best, _line
from bench.race.loads import Load, Measured


@pytest.mark.parametrize(("per_s", "bound"), [(9_000.0, "9,000/s"), (8_999.0, "9,000/s, missed")])
def test_line(per_s: float, bound: str) -> None:
    """
    A row says whether its bound was met.
    """
    best = Best(Load(60, 4), Measured(per_s, p50_ms=12.25, p99_ms=19.9))
    assert _line("tensor", "native", 9_000, best) == (
        f"| tensor | native | {per_s:,.0f}/s | 12.2 ms | 19.9 ms | 240 | {bound} |"
    )


def test_line_without_a_load_that_is_fast_enough() -> None:
    """
    A rate whose latency is too long does not count.
    """
    assert "p99 above 20 ms" in _line("jpeg", "grpcio", 8_000, None)
