import pytest

pytest.importorskip("pygrpc_native", reason="needs the extra fast")

from convoy.service.rpc.native import REFUSING_SHARE, _pause_s


def test_refusing_takes_its_share_only() -> None:
    """
    After a burst that was mostly refused nothing is read for as long as makes its time the share
    that refusing may take.
    """
    pause_s = _pause_s(refused=200, taken=256, seconds=0.003)
    assert 0.003 / (0.003 + pause_s) == pytest.approx(REFUSING_SHARE)


@pytest.mark.parametrize(("refused", "taken"), [(0, 0), (0, 256), (1, 2), (128, 256)])
def test_no_pause_for_others(refused: int, taken: int) -> None:
    """
    A few that are refused keep no others from being read.
    """
    assert _pause_s(refused, taken, seconds=0.003) == 0
