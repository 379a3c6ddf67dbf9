import pytest

from convoy.service.batching.queue import LatencyTable


def test_nothing_is_known() -> None:
    """
    Before the first run every run is expected to take no time: no request is refused by guess.
    """
    assert LatencyTable().run_s(8) == 0.0


@pytest.mark.parametrize(
    ("size", "seconds"), [(1, 0.1), (2, 0.1), (3, 0.15), (4, 0.2), (8, 0.3), (16, 0.6)]
)
def test_sizes_that_were_not_seen(size: int, seconds: float) -> None:
    """
    Below the smallest as that one, in between a straight line, beyond the largest in proportion.
    """
    table = LatencyTable()
    for seen, took in ((8, 0.3), (2, 0.1), (4, 0.2)):
        table.add(seen, took)
    assert table.run_s(size) == pytest.approx(seconds)


def test_leans_to_the_fast_side() -> None:
    """
    One slow run changes little; one that is faster than expected, much.
    """
    table = LatencyTable()
    table.add(1, 0.1)
    table.add(1, 1.1)
    assert table.run_s(1) == pytest.approx(0.2)
    table.add(1, 0.1)
    assert table.run_s(1) == pytest.approx(0.15)
