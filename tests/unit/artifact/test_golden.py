import numpy as np
import numpy.typing as npt
import pytest

from convoy.artifact.golden import (
    Drift,
    as_scores,
    expected_answers,
    replay,
    select_clearest,
    softmax,
)

SCORES = np.array([[1, 2, 0], [9, 0, 0], [3, 5, 0], [0, 1, 2], [0, 0, 6]], np.float32)
IMAGES = np.arange(5)
"""Each image is the number of its row in `SCORES`."""


def drifts(
    change: npt.ArrayLike, *, deciding: list[int] | None = None, size: int = 5
) -> list[Drift]:
    """Compare `SCORES` with themselves and *change*, in batches of *size*."""
    answers = SCORES + np.asarray(change, np.float32)
    batches = [IMAGES[start : start + size] for start in range(0, 5, size)]
    decides = None if deciding is None else np.array(deciding)
    return list(
        replay(lambda batch: {"z": answers[batch]}, IMAGES, {"z": SCORES}, batches, decides)
    )


def test_drift_is_a_share_of_the_range() -> None:
    """
    The largest difference counts, in relation to the range of all answers.
    """
    change = np.zeros((5, 3))
    change[3, 0] = -0.9
    (drift,) = drifts(change)
    assert (drift.output, drift.batch_size, drift.same_classes) == ("z", 5, True)
    assert drift.share == pytest.approx(0.1)
    assert drift.exceeds(0.09)
    assert not drift.exceeds(0.11)
    assert [one.share > 0 for one in drifts(change, size=1)] == [False, False, False, True, False]


def test_images_that_decide() -> None:
    """
    They give the range, and only their class has to stay.
    """
    change = np.zeros((5, 3))
    change[0, 0] = 1.5  # another class than before
    assert [drift.same_classes for drift in drifts(change)] == [False]
    (drift,) = drifts(change, deciding=[2, 3])
    assert drift.same_classes
    assert drift.share == pytest.approx(1.5 / 5)
    assert not drifts(change, deciding=[0, 3])[0].same_classes


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_answers_that_are_no_numbers(wrong: float) -> None:
    """
    No tolerance accepts them.
    """
    change = np.zeros((5, 3))
    change[0, 0] = wrong
    assert drifts(change)[0].exceeds(1e9)


def test_answers_that_are_all_alike() -> None:
    """
    A range of 0 makes every difference a large one, and equality none.
    """
    flat = np.ones((1, 3), np.float32)

    def share(actual: npt.NDArray[np.float32]) -> float:
        (drift,) = replay(lambda _: {"z": actual}, IMAGES[:1], {"z": flat}, [IMAGES[:1]])
        return drift.share

    assert share(flat) == 0
    assert share(flat + np.float32(1e-3)) > 1


@pytest.mark.parametrize(("count", "kept"), [(2, [1, 4]), (3, [1, 2, 4]), (9, [0, 1, 2, 3, 4])])
def test_clearest_images(count: int, kept: list[int]) -> None:
    """
    The images whose class leads by most are kept, in their order.
    """
    assert select_clearest(SCORES, count).tolist() == kept


def test_expected_answers() -> None:
    """
    Probabilities are the softmax of logits beside them, and are compared as they are without.
    """
    both = expected_answers({"p": "probabilities", "z": "logits"}, SCORES)
    assert both["z"] is SCORES
    assert both["p"] == pytest.approx(softmax(SCORES))
    assert expected_answers({"p": "probabilities"}, SCORES)["p"] is SCORES
    assert expected_answers({"z": "logits"}, SCORES)["z"] is SCORES


def test_softmax_of_large_logits() -> None:
    """
    No exponential overflows, and every row sums to 1.
    """
    shares = softmax(np.array([[1000, 1000, -1000], [0, 0, 0]], np.float32))
    assert shares == pytest.approx(np.array([[0.5, 0.5, 0], [1 / 3] * 3]))


def test_scores_of_any_shape() -> None:
    """
    Scores get one row for each image, as float32; those that are so already are not copied.
    """
    assert as_scores(np.ones((2, 5, 1, 1), np.float16)).shape == (2, 5)
    assert as_scores(np.ones((2, 5), np.float64)).dtype == np.float32
    assert np.shares_memory(as_scores(SCORES), SCORES)
