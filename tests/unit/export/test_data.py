from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from artifact.manifest import Preprocessing
from export import data
from export.errors import DataError
from tests.images import encode

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
    What is encoded and decoded again are the pixels of MNIST.
    """
    pixels = digits.test.pixels(DIGIT)
    assert pixels.shape == (1000, 28, 28, 1)
    assert 0.12 < pixels.mean() / 255 < 0.14


def test_joined(digits: data.DataSet) -> None:
    """
    Parts can be joined, each image keeping its label.
    """
    joined = digits.validation + digits.test
    assert len(joined) == 1500
    assert joined.image(500) == digits.test.image(0)
    assert joined.labels[500] == digits.test.labels[0]


def make_folder(root: Path, **counts: int) -> Path:
    """A folder with so many images in each class."""
    for name, count in counts.items():
        (root / name).mkdir()
        for index in range(count):
            image = Image.new("L", (28, 28), index)
            (root / name / f"{index:03}.png").write_bytes(encode(image))
    return root


def test_folder(tmp_path: Path) -> None:
    """
    Each sub-folder is a class; images are read when they are asked for.
    """
    loaded = data.load(f"folder:{make_folder(tmp_path, cat=20, dog=10)}")
    assert loaded.labels == ("cat", "dog")
    assert [len(p) for p in (loaded.train, loaded.validation, loaded.test)] == [21, 3, 6]
    assert loaded.train.pixels(DIGIT).shape == (21, 28, 28, 1)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "at least two sub-folders"),
        ({"cat": 10}, "at least two sub-folders"),
        ({"cat": 10, "dog": 0}, "dog holds 0 images"),
        ({"cat": 9, "dog": 10}, "cat holds 9 images"),
    ],
)
def test_folder_without_images(tmp_path: Path, counts: dict[str, int], message: str) -> None:
    """
    A folder with too little in it is refused, and says where.
    """
    with pytest.raises(DataError, match=message):
        data.load(f"folder:{make_folder(tmp_path, **counts)}")


def test_more_images_leave_the_others_where_they_were(tmp_path: Path) -> None:
    """
    A test image of a folder stays one when images join it, but for one a class at most.
    """
    make_folder(tmp_path, cat=50, dog=50)
    before = set(data.load(f"folder:{tmp_path}").test.sources)
    for index in range(50, 53):
        (tmp_path / "cat" / f"{index}.png").write_bytes(encode(Image.new("L", (28, 28))))
    after = set(data.load(f"folder:{tmp_path}").test.sources)
    assert len(before - after) <= 3


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    """
    Hidden files and folders, and folders in a class, are not taken for images.
    """
    make_folder(tmp_path, cat=10, dog=10)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "cat" / "._000.png").write_bytes(b"a Mac was here")
    (tmp_path / "cat" / "folder.png").mkdir()
    (tmp_path / "cat" / "notes.txt").touch()
    loaded = data.load(f"folder:{tmp_path}")
    assert sum(map(len, (loaded.train, loaded.validation, loaded.test))) == 20
    assert loaded.name == f"folder:{tmp_path.name}"


def test_folder_of_parts(tmp_path: Path) -> None:
    """
    The parts of a data set are not taken for its classes.
    """
    with pytest.raises(DataError, match="parts, not classes"):
        data.load(f"folder:{make_folder(tmp_path, train=10, val=10)}")


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    """
    A folder that cannot be read is named.
    """
    with pytest.raises(DataError, match="nowhere"):
        data.load(f"folder:{tmp_path / 'nowhere'}")


def test_damaged_image_is_named(tmp_path: Path) -> None:
    """
    An image that cannot be decoded is named by its file.
    """
    make_folder(tmp_path, cat=10, dog=10)
    for path in (tmp_path / "dog").iterdir():
        path.write_bytes(b"nope")
    with pytest.raises(DataError, match=r"dog/\d+\.png: the bytes are not"):
        data.load(f"folder:{tmp_path}").train.pixels(DIGIT)


@pytest.mark.parametrize("name", ["", "mnist", "folder:", "folder"])
def test_unknown(name: str) -> None:
    """
    A name that is no data set is refused with those that are.
    """
    with pytest.raises(DataError, match="known are mnist5k"):
        data.load(name)
