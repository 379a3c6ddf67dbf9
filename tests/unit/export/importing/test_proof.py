from pathlib import Path

import numpy as np
import pytest

from convoy.export.errors import DataError, ProofError
from convoy.export.importing.reference import IMAGE_COUNT, choose_golden, find_images, invent_images


def test_invented_images_are_images() -> None:
    """
    They use the whole range, differ from each other and in their channels, and are smooth, as
    photographs are and noise is not.
    """
    images = invent_images(IMAGE_COUNT, 64, 48, 3)
    assert images.shape == (IMAGE_COUNT, 64, 48, 3)
    assert images.dtype == np.uint8
    assert np.ptp(images) > 200
    values = images.astype(np.float64)
    assert np.abs(np.diff(values, axis=1)).mean() < 0.25 * values.std()
    for index in range(IMAGE_COUNT - 1):
        assert np.abs(values[index] - values[index + 1]).mean() > 20
    assert np.abs(values[..., 0] - values[..., 1]).mean() > 20


def test_invented_images_are_always_the_same() -> None:
    """
    Two imports of a graph give the same golden images.
    """
    assert (invent_images(3, 9, 9, 1) == invent_images(3, 9, 9, 1)).all()
    assert invent_images(3, 9, 9, 1).tolist() == invent_images(5, 9, 9, 1)[:3].tolist()


def test_images_are_spread_over_a_folder(tmp_path: Path) -> None:
    """
    A few of many images are taken, from the beginning to the end.
    """
    for index in range(40):
        (tmp_path / f"{index:02}.PNG").touch()
    (tmp_path / ".hidden.png").touch()
    (tmp_path / "folder.png").mkdir()
    found = find_images([tmp_path])
    assert [path.name for path in found] == [f"{index:02}.PNG" for index in range(0, 40, 5)]
    one = tmp_path / "39.PNG"
    assert find_images([one, one]) == [one, one]
    with pytest.raises(DataError, match="no images in"):
        find_images([one, tmp_path / "folder.png"])


SCORES = np.array([[1, 2, 0], [9, 0, 0], [3, 5, 0], [0, 1, 2], [0, 0, 6]], np.float32)


@pytest.mark.parametrize(
    ("given", "count", "golden"),
    [(0, 2, [1, 4]), (0, 3, [1, 2, 4]), (0, 9, [0, 1, 2, 3, 4]), (1, 4, [0]), (3, 2, [1, 2])],
)
def test_golden_images_are_the_clearest(given: int, count: int, golden: list[int]) -> None:
    """
    The ones whose class leads by most, in their order; given images go before invented ones.
    """
    assert choose_golden(SCORES, given, count, 1e-4).tolist() == golden


def test_golden_answers_must_differ() -> None:
    """
    Answers that are alike within the tolerance would be right for any image.
    """
    scores = SCORES[:1] + 1e-3 * SCORES
    with pytest.raises(ProofError, match="the same answer within 1e-02"):
        choose_golden(scores, 0, 4, 1e-2)
    assert len(choose_golden(scores, 0, 4, 1e-4)) == 4
    with pytest.raises(ProofError, match="not finite"):
        choose_golden(np.where(SCORES == 9, np.float32("inf"), SCORES), 0, 4, 1e-2)
