import hashlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from convoy.artifact.manifest import Preprocessing
from convoy.export import data
from convoy.export.data.hard_digits import draw

PLAIN = Preprocessing(color="L", resize_px=28, crop_height_px=28, crop_width_px=28)
COLOR = Preprocessing(color="RGB", resize_px=64, crop_height_px=64, crop_width_px=64)


@pytest.fixture(scope="module")
def digits() -> npt.NDArray[np.uint8]:
    """50 digits of each class: uint8 `[500, 28, 28]`."""
    return data.load("mnist5k").validation.pixels(PLAIN)[:, :, :, 0]


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def at_levels(low: float, high: float, count: int) -> list[int]:
    """Seeds of drawings at levels from *low* to *high*: the level is the first number drawn."""
    return [s for s in range(100 * count) if low <= generator(s).random() < high][:count]


def test_drawings_never_change(digits: npt.NDArray[np.uint8]) -> None:
    """
    The same seed gives the same pixels for good: what networks reached can be compared.
    """
    drawn = np.stack([draw(digits[10 * i], digits, generator(i)) for i in range(50)])
    assert drawn.shape == (50, 64, 64, 3)
    assert hashlib.sha256(drawn.tobytes()).hexdigest() == (
        "28c25ba3395b1710dad01bd4c3e62d5f7d3394ecb421ca323da176c04c459407"
    )


def test_lowest_level_is_the_plain_digit(digits: npt.NDArray[np.uint8]) -> None:
    """
    There, a digit is as MNIST has it, enlarged: white on black, filling the frame.
    """
    for seed in at_levels(0.0, 0.01, 5):
        plain = np.asarray(Image.fromarray(digits[seed % 500]).resize((64, 64)))
        drawn = draw(digits[seed % 500], digits, generator(seed))
        difference = np.abs(drawn.astype(int) - plain[:, :, None])
        assert difference.mean() < 6


def test_difficulty_grows_with_the_level(digits: npt.NDArray[np.uint8]) -> None:
    """
    The higher the level, the less a drawing is like the digit that it shows.
    """

    def likeness(low: float, high: float) -> float:
        likenesses = []
        for seed in at_levels(low, high, 40):
            plain = np.asarray(Image.fromarray(digits[seed % 500]).resize((64, 64)))
            drawn = draw(digits[seed % 500], digits, generator(seed)).mean(2)
            likenesses.append(np.corrcoef(plain.ravel(), drawn.ravel())[0, 1])
        return float(np.mean(likenesses))

    assert likeness(0.0, 0.1) > 0.95 > 0.8 > likeness(0.4, 0.6) > 0.4 > likeness(0.9, 1.0)


def test_the_digit_stands_out(digits: npt.NDArray[np.uint8]) -> None:
    """
    At the highest level, too, a drawing with its digit differs from the one without where the
    digit is, and almost nowhere else.
    """
    empty = np.zeros_like(digits[0])
    for seed in at_levels(0.95, 1.0, 20):
        digit = digits[seed % 500]
        drawn = draw(digit, digits, generator(seed)).astype(int)
        changed = np.abs(drawn - draw(empty, digits, generator(seed))).max(2) > 25
        # A character's strokes fill a tenth to a third of its frame, which fills 1/4 to 1 here.
        assert 0.01 < changed.mean() < 0.4


@pytest.mark.slow
def test_hard5k() -> None:
    """
    Each part shows the digits of mnist5k's, in their order, and the plain test is a second one.
    """
    plain, hard = data.load("mnist5k"), data.load("hard5k")
    assert hard.labels == plain.labels
    for part, same in (
        (hard.train, plain.train),
        (hard.validation, plain.validation),
        (hard.test, plain.test),
    ):
        assert part.labels.tolist() == same.labels.tolist()
        likenesses = [
            np.corrcoef(one.ravel(), other.ravel())[0, 1]
            for one, other in zip(part.pixels(PLAIN), same.pixels(PLAIN), strict=True)
        ]
        assert 0.1 < np.mean(np.array(likenesses) > 0.95) < 0.5
    assert {name: list(part.sources) for name, part in hard.extra_tests.items()} == {
        "mnist5k": list(plain.test.sources)
    }
    # The sum of all pixels of the test: another drawing would change it.
    assert int(hard.test.pixels(COLOR).sum(dtype=np.int64)) == 964_204_154
