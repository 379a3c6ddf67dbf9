import numpy as np
import pytest

from convoy.service.errors import InvalidArgumentError
from convoy.service.serving.top_k import check_top_k, largest


@pytest.mark.parametrize("count", [1, 3, 7, 50])
def test_largest_is_a_sort(count: int) -> None:
    """
    The largest are what a full stable sort puts first.
    """
    values = np.random.default_rng(0).integers(0, 20, (30, 50)).astype(np.float32)
    expected = np.argsort(-values, axis=1, kind="stable")[:, :count]
    found = largest(values, count)
    assert np.array_equal(found, expected)


def test_equal_values_by_their_index() -> None:
    """
    The first of equal values comes first.
    """
    assert largest(np.array([[1.0, 2.0, 2.0, 1.0]]), 4).tolist() == [[1, 2, 0, 3]]


@pytest.mark.parametrize("count", [1, 2, 5, 999, 1000])
def test_all_equal(count: int) -> None:
    """
    The first classes are the best ones if all are equal, whatever their number.
    """
    assert largest(np.zeros((2, 1000), np.float32), count).tolist() == [[*range(count)]] * 2


@pytest.mark.parametrize("top_k", [-1, 1001])
def test_top_k_out_of_range(top_k: int) -> None:
    """
    top_k is checked before any work is done.
    """
    with pytest.raises(InvalidArgumentError, match=str(top_k)):
        check_top_k(top_k)


@pytest.mark.parametrize("top_k", [0, 1, 1000])
def test_top_k_in_range(top_k: int) -> None:
    """
    The ends of the range are in it, and 0 stands for the default.
    """
    check_top_k(top_k)
