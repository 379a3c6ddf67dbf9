import numpy as np
import numpy.typing as npt
import pytest

from convoy.commands.evaluate import scoring

# Three classes, six images; the last answer is no number.
TRUTH = np.array([0, 0, 0, 1, 1, 2])
BEST = np.array([[0, 1], [0, 2], [1, 0], [1, 0], [0, 1], [-1, -1]])


def test_right_answers() -> None:
    """
    An image is right if its class is among the first; scores that are no numbers are wrong.
    """
    assert scoring.right_answers(BEST, TRUTH, 1).tolist() == [True, True, False, True, False, False]
    assert scoring.right_answers(BEST, TRUTH, 2).tolist() == [True] * 5 + [False]


def test_interval() -> None:
    """
    The interval is Wilson's, and ends at 0 and 1.
    """
    half = scoring.measured(np.array([True] * 50 + [False] * 50))
    assert (half.count, half.share) == (50, 0.5)
    assert (half.low, half.high) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert scoring.measured(np.array([True] * 9)).high == 1.0


def test_scores_of_classes() -> None:
    """
    Precision counts what a class was given, recall what there was of it; either may be unknown.
    """
    table = scoring.confusion(BEST, TRUTH, 4)
    assert table.tolist() == [
        [2, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
    ]
    zero, one, two, three = scoring.class_scores(table, ("a", "b", "c", "d"))
    assert (zero.precision, zero.recall, zero.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (one.precision, one.recall, one.f1) == pytest.approx((1 / 2, 1 / 2, 1 / 2))
    assert (two.images, two.precision, two.recall, two.f1) == (1, None, 0.0, 0.0)
    assert (three.images, three.precision, three.recall, three.f1) == (0, None, None, None)


def test_calibration_error() -> None:
    """
    Each bin counts by its images: |0.8 - 2/3| for three of four, |0.3 - 0| for the fourth.
    """
    confidence = np.array([0.8, 0.8, 0.8, 0.3])
    ece, bins = scoring.reliability(confidence, np.array([True, True, False, False]))
    assert ece == pytest.approx(3 / 4 * (0.8 - 2 / 3) + 1 / 4 * 0.3)
    assert [one.images for one in bins] == [1, 3]
    assert [one.confidence for one in bins] == pytest.approx([0.3, 0.8])


def test_calibration_at_the_ends() -> None:
    """
    Certain answers are in the last bin, and those without a number in the first.
    """
    ece, bins = scoring.reliability(np.array([1.0, 0.0]), np.array([True, False]))
    assert ece == 0
    assert [one.confidence for one in bins] == [0, 1]


@pytest.mark.parametrize(
    ("both", "only_first", "only_second", "p_value"),
    [
        (5, 2, 10, 2 * (1 + 12 + 66) / 2**12),
        (5, 10, 2, 2 * (1 + 12 + 66) / 2**12),
        (0, 3, 3, 1.0),
        (7, 0, 0, 1.0),
        (0, 0, 2000, 0.0),
    ],
)
def test_mcnemar(both: int, only_first: int, only_second: int, p_value: float) -> None:
    """
    Only the images that one of the two is right about decide.
    """
    first, second = outcomes_of_two(both, only_first, only_second)
    *counts, found = scoring.mcnemar(first, second)
    assert counts == [only_first, only_second]
    assert found == pytest.approx(p_value)


def outcomes_of_two(
    both: int, only_first: int, only_second: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which images each of two models is right about; about 4 more, neither is."""
    first = np.array([True] * (both + only_first) + [False] * (only_second + 4))
    second = np.array([True] * both + [False] * only_first + [True] * only_second + [False] * 4)
    return first, second
