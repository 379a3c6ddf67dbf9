import numpy as np
import pytest
from PIL import Image

from convoy.artifact.manifest import Preprocessing
from convoy.export import data
from convoy.export.data import Split
from convoy.export.errors import DataError
from tests.harness.images import encode

DIGIT = Preprocessing(color="L", resize_px=28, crop_height_px=28, crop_width_px=28)


@pytest.fixture(scope="module")
def digits() -> data.DataSet:
    return data.load("mnist5k")


def test_mnist5k_is_split_by_class(digits: data.DataSet) -> None:
    """
    1,000 digits for the test, 500 to choose by, 3,500 to train on; the same of each class.
    """
    for part, count in ((digits.test, 100), (digits.validation, 50), (digits.train, 350)):
        assert np.bincount(part.labels).tolist() == [count] * 10
    assert digits.labels == tuple("0123456789")


def test_parts_are_disjoint_and_fixed(digits: data.DataSet) -> None:
    """
    No image is in two parts, and the split never changes.
    """
    parts = [digits.train, digits.validation, digits.test]
    images = [{part.image(index) for index in range(len(part))} for part in parts]
    assert len(images[0] | images[1] | images[2]) == sum(map(len, images))
    again = data.load("mnist5k")
    assert list(again.test.sources) == list(digits.test.sources)
    # The sum of all pixels of the test digits: a new split would change it.
    assert int(digits.test.pixels(DIGIT).sum(dtype=np.int64)) == 26_450_498


def test_images_are_the_digits(digits: data.DataSet) -> None:
    """
    The encoded images decode to the pixels of MNIST.
    """
    pixels = digits.test.pixels(DIGIT)
    assert pixels.shape == (1000, 28, 28, 1)
    assert 0.12 < pixels.mean() / 255 < 0.14


def test_chosen(digits: data.DataSet) -> None:
    """
    Images can be taken out in any order, each with its label.
    """
    chosen = digits.test.part(np.array([5, 3]))
    assert list(chosen.sources) == [digits.test.image(5), digits.test.image(3)]
    assert chosen.labels.tolist() == digits.test.labels[[5, 3]].tolist()


def test_decoded(digits: data.DataSet) -> None:
    """
    One image can be decoded at its own size, in the colours that a network wants.
    """
    spec = Preprocessing(color="RGB", resize_px=64, crop_height_px=64, crop_width_px=64)
    image = digits.test.decoded(0, spec)
    assert (image.mode, image.size) == ("RGB", (28, 28))


def test_what_cannot_be_decoded_is_named() -> None:
    """
    An image that lies in memory is named by its place.
    """
    with pytest.raises(DataError, match="image 1: this is text"):
        Split([encode(Image.new("L", (1, 1))), b"nope"], np.zeros(2, np.int64)).decoded(1, DIGIT)


def test_joined(digits: data.DataSet) -> None:
    """
    Parts can be joined, each image keeping its label.
    """
    joined = digits.validation + digits.test
    assert len(joined) == 1500
    assert joined.image(500) == digits.test.image(0)
    assert joined.labels[500] == digits.test.labels[0]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("", "expected one of mnist5k, hard5k, folder:PATH, mnist"),
        ("mnist:", r"did you mean mnist\?"),
        ("mnist5k:data", r"did you mean mnist5k\?"),
        ("folder:", "did you mean folder:PATH"),
        ("folder", "did you mean folder:PATH"),
        ("cifar", "did you mean cifar10"),
    ],
)
def test_unknown(name: str, advice: str) -> None:
    """
    A name that is not a data set is refused with the closest one, or with all.
    """
    with pytest.raises(DataError, match=advice):
        data.load(name)
