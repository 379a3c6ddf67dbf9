import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from convoy.artifact.manifest import Preprocessing
from convoy.export import data
from convoy.export.data import Split
from convoy.export.data.folders import images_below, load_classes, load_folder
from convoy.export.errors import DataError
from tests.harness.images import encode

DIGIT = Preprocessing(color="L", resize_px=28, crop_height_px=28, crop_width_px=28)


def make_folder(root: Path, **counts: int) -> Path:
    """A folder with so many images in each class."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
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


def test_link_to_itself(tmp_path: Path) -> None:
    """
    A link to itself is an error that names it.
    """
    (tmp_path / "loop").symlink_to("loop")
    for read in (load_folder, load_classes, images_below):
        with pytest.raises(DataError, match=r"cannot read the data folder .*loop: Too many levels"):
            read(tmp_path / "loop")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "at least two sub-folders of images, one per class$"),
        ({"cat": 10}, "at least two sub-folders .* if they are in .*cat, name that folder"),
        ({"cat": 10, "dog": 0}, "dog holds no images named .avif, .*remove the folder"),
        ({"cat": 9, "dog": 10}, "cat holds 9 images; a class needs at least 10: add some"),
        ({"cat": 1, "dog": 10}, "cat holds 1 image; a class needs at least 10: add some"),
    ],
)
def test_folder_without_images(tmp_path: Path, counts: dict[str, int], message: str) -> None:
    """
    A folder with too little in it is refused, and says where.
    """
    with pytest.raises(DataError, match=message):
        data.load(f"folder:{make_folder(tmp_path, **counts)}")


def test_more_images_do_not_move_the_others(tmp_path: Path) -> None:
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
    Hidden files and folders, those of other systems, and folders in a class are no images.
    """
    make_folder(tmp_path, cat=10, dog=10)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "cat" / "._000.png").write_bytes(b"a Mac was here")
    (tmp_path / "cat" / "folder.png").mkdir()
    (tmp_path / "cat" / "notes.txt").touch()
    loaded = data.load(f"folder:{tmp_path}")
    assert sum(map(len, (loaded.train, loaded.validation, loaded.test))) == 20
    assert loaded.name == f"folder:{tmp_path.name}"


def test_nested_folders(tmp_path: Path) -> None:
    """
    Images below a class's folder belong to it, through links to folders outside as well.
    """
    make_folder(tmp_path / "data", cat=10, dog=10)
    for name in ("more", "more/still", ".hidden"):
        (tmp_path / "data" / "cat" / name).mkdir()
        (tmp_path / "data" / "cat" / name / "x.JPG").write_bytes(encode(Image.new("L", (28, 28))))
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "far.jfif").write_bytes(encode(Image.new("L", (28, 28)), "JPEG"))
    (tmp_path / "data" / "dog" / "link").symlink_to(tmp_path / "linked")
    loaded = data.load(f"folder:{tmp_path / 'data'}")
    everything = loaded.train + loaded.validation + loaded.test
    by_class = [files(everything.part(np.flatnonzero(everything.labels == i))) for i in (0, 1)]
    assert [len(paths) for paths in by_class] == [12, 11]
    found = ImageFolder(tmp_path / "data" / "cat", allow_empty=True)
    assert {path.name for path in by_class[0]} >= {Path(path).name for path, _ in found.imgs}
    assert not loaded.left_out


def test_files_that_are_left_out(tmp_path: Path) -> None:
    """
    Files that are not read are counted by their kind, the most frequent first.
    """
    make_folder(tmp_path, cat=10, dog=10)
    (tmp_path / "cat" / "more").mkdir()
    for name in ("cat/a.tga", "cat/more/b.TGA", "dog/notes.txt", "dog/README", "dog/.DS_Store"):
        (tmp_path / name).touch()
    (tmp_path / "dog" / "gone.png").symlink_to("nowhere")
    (tmp_path / "loose.png").touch()
    loaded = data.load(f"folder:{tmp_path}")
    assert data.counted(loaded.left_out) == (
        "2 .tga, 1 .txt, 1 outside of the classes, 1 unreadable as a file, 1 without an ending"
    )


def test_class_of_other_files_only(tmp_path: Path) -> None:
    """
    A class without an image names what it holds instead.
    """
    make_folder(tmp_path, cat=10, dog=0)
    (tmp_path / "dog" / "a.psd").touch()
    with pytest.raises(DataError, match=r"dog holds no images .* \(left out: 1 .psd\)"):
        data.load(f"folder:{tmp_path}")


def make_parts(root: Path, **parts: dict[str, int]) -> Path:
    """A folder with so many images in each class of each part."""
    for part, counts in parts.items():
        (root / part).mkdir()
        make_folder(root / part, **counts)
    return root


@pytest.mark.parametrize(
    "name", ["val", "valid", "validation", "dev", "Eval", "evaluation", "test"]
)
def test_two_parts(tmp_path: Path, name: str) -> None:
    """
    The folder beside `train` is the test, whatever its name; a tenth of `train` validates.
    """
    make_parts(tmp_path, **{"train": {"cat": 30, "dog": 10}, name: {"cat": 2, "dog": 1}})
    loaded = data.load(f"folder:{tmp_path}")
    assert loaded.labels == ("cat", "dog")
    assert [len(p) for p in (loaded.train, loaded.validation, loaded.test)] == [36, 4, 3]
    assert loaded.test.labels.tolist() == [0, 0, 1]
    assert {path.parents[1].name for path in files(loaded.test)} == {name}
    assert not set(files(loaded.train)) & set(files(loaded.validation))


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Val", "Test"),
        ("training", "validation", "testing"),
        ("TRAIN", "valid", "test"),
        ("Training", "Validation", "Testing"),
        ("train", "DEV", "test"),
        ("train", "eval", "test"),
        ("train", "Evaluation", "test"),
    ],
)
def test_names_of_parts(tmp_path: Path, names: tuple[str, str, str]) -> None:
    """
    Parts are known by the usual names, in capitals or not.
    """
    counts = ({"cat": 3, "dog": 3}, {"cat": 2, "dog": 2}, {"cat": 1, "dog": 1})
    make_parts(tmp_path, **dict(zip(names, counts, strict=True)))
    loaded = data.load(f"folder:{tmp_path}")
    assert [len(p) for p in (loaded.train, loaded.validation, loaded.test)] == [6, 4, 2]


def test_three_parts(tmp_path: Path) -> None:
    """
    Each part is what it is named.
    """
    make_parts(
        tmp_path,
        train={"cat": 3, "dog": 3},
        val={"cat": 2, "dog": 2},
        test={"cat": 1, "dog": 1},
    )
    loaded = data.load(f"folder:{tmp_path}")
    for part, name in ((loaded.train, "train"), (loaded.validation, "val"), (loaded.test, "test")):
        assert {path.parents[1].name for path in files(part)} == {name}
    assert [len(p) for p in (loaded.train, loaded.validation, loaded.test)] == [6, 4, 2]


def files(part: Split) -> list[Path]:
    """The sources of *part*, all of which are files."""
    return [source for source in part.sources if isinstance(source, Path)]


BOTH = {"cat": 10, "dog": 10}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"val": BOTH, "test": BOTH}, "parts, not classes, and none named train"),
        ({"train": BOTH}, "nothing to test on: it needs a sub-folder test"),
        ({"train": BOTH, "val": BOTH, "valid": BOTH}, "to validate on: val, valid"),
        ({"train": BOTH, "val": {"cat": 1, "eel": 1}}, "val lacks classes that train has: dog"),
        ({"train": BOTH, "val": BOTH | {"eel": 1}}, "val has classes that train lacks: eel"),
        ({"train": {"cat": 10, "dog": 9}, "val": BOTH}, "train/dog holds 9 images"),
        ({"train": BOTH, "test": {"cat": 1, "dog": 0}}, "test/dog holds no images"),
        ({"train": {}, "test": BOTH}, "train needs at least two sub-folders"),
        ({"train": BOTH, "Train": BOTH, "test": BOTH}, "one part to train on: Train, train"),
        (
            {"training": BOTH, "validation": BOTH, "held_out": BOTH},
            "the parts training, validation beside held_out: move",
        ),
    ],
)
def test_parts_that_do_not_fit(
    tmp_path: Path, parts: dict[str, dict[str, int]], message: str
) -> None:
    """
    Parts that are missing, or differ in their classes, are refused, and it says which.
    """
    with pytest.raises(DataError, match=message):
        data.load(f"folder:{make_parts(tmp_path, **parts)}")


def test_many_differences_fit_a_line(tmp_path: Path) -> None:
    """
    The error names three of many classes that a part lacks.
    """
    many = {f"c{index}": 10 for index in range(6)}
    make_parts(tmp_path, train=many, val={"c0": 1, "c1": 1})
    with pytest.raises(DataError, match=r"has: c2, c3, c4, \.\.\.$"):
        data.load(f"folder:{tmp_path}")


def test_a_class_may_be_named_as_a_part(tmp_path: Path) -> None:
    """
    Beside other classes, `train` is a class.
    """
    loaded = data.load(f"folder:{make_folder(tmp_path, plane=10, train=10)}")
    assert loaded.labels == ("plane", "train")


def test_classes_with_the_same_folders_in_them(tmp_path: Path) -> None:
    """
    Folders in classes, such as places, may have the same names in each class.
    """
    inner = {"indoor": 10, "outdoor": 10}
    loaded = data.load(f"folder:{make_parts(tmp_path, cat=inner, dog=inner)}")
    assert loaded.labels == ("cat", "dog")


@pytest.mark.parametrize(
    "parts",
    [
        {"train": BOTH, "holdout": BOTH},
        {"train": {f"c{i}": 10 for i in range(4)}, "held": {"c0": 10, "c1": 10, "c8": 10}},
    ],
)
def test_parts_of_unknown_names(tmp_path: Path, parts: dict[str, dict[str, int]]) -> None:
    """
    Parts whose names are not known are not taken for classes, in training or in evaluation.
    """
    make_parts(tmp_path, **parts)
    one, other = sorted(parts)[:2]
    message = f"{one} and {other} in .* both hold images in folders named c.*train, training, val"
    for load in (load_folder, load_classes):
        with pytest.raises(DataError, match=message):
            load(tmp_path)


@pytest.mark.parametrize(
    "classes",
    [
        {"cat": {"images": 10}, "dog": {"images": 10}},  # as in Tiny ImageNet
        {"cat": {"images": 10, "boxes": 0}, "dog": {"images": 10, "boxes": 0}},
        {"cat": {"a": 5, "b": 5, "c": 5}, "dog": {"a": 5, "d": 5, "e": 5}},
        {"pet": {"cat": 5, "dog": 5}, "vehicle": {"car": 5, "bus": 5}},
    ],
)
def test_classes_with_folders_in_them(tmp_path: Path, classes: dict[str, dict[str, int]]) -> None:
    """
    Classes may hold all of their images in further folders, also in one of the same name.
    """
    loaded = data.load(f"folder:{make_parts(tmp_path, **classes)}")
    assert loaded.labels == tuple(classes)
    everything = loaded.train + loaded.validation + loaded.test
    counts = [sum(folders.values()) for folders in classes.values()]
    assert np.bincount(everything.labels).tolist() == counts


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("cat/more", "dog"),  # another class, before its own folder is read
        ("dog/more", "cat"),
        ("dog/more/deep", "cat"),
        ("dog/loop", "dog"),
        ("dog/up", "."),
        ("dog/far_up", ".."),
        ("eel", "dog"),  # a class that is a link to another one
    ],
)
def test_link_into_the_data_set(tmp_path: Path, link: str, target: str) -> None:
    """
    A link to a folder that is read anyway is refused and named: its images would be read twice.
    """
    root = make_folder(tmp_path / "data", cat=10, dog=10)
    (root / link).parent.mkdir(exist_ok=True)
    (root / link).symlink_to(root / target)
    message = f"the symbolic link {root / link} leads to {(root / target).resolve()}, "
    with pytest.raises(DataError, match=re.escape(message)):
        data.load(f"folder:{root}")


def test_part_that_is_a_link_to_another(tmp_path: Path) -> None:
    """
    A network is not tested on the images that it was trained on.
    """
    make_parts(tmp_path, train=BOTH)
    (tmp_path / "val").symlink_to("train")
    with pytest.raises(DataError, match=r"the symbolic link .*/val leads to .*/train, "):
        data.load(f"folder:{tmp_path}")


def test_classes_that_are_links(tmp_path: Path) -> None:
    """
    Classes may be links to folders elsewhere, but not two of them to one folder.
    """
    make_folder(tmp_path / "store", cat=10, dog=10)
    (tmp_path / "data").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "store" / name)
    loaded = data.load(f"folder:{tmp_path / 'data'}")
    assert (loaded.labels, len(loaded.train)) == (("cat", "dog"), 14)
    (tmp_path / "data" / "eel").symlink_to(tmp_path / "store" / "dog")
    with pytest.raises(
        DataError, match=r"link .*data/eel leads to .*store/dog, .*data/dog: remove"
    ):
        data.load(f"folder:{tmp_path / 'data'}")


@pytest.mark.parametrize("folder", ["data/caf\udce9", "data\udce9/cat"])
def test_names_that_are_no_text(tmp_path: Path, folder: str) -> None:
    """
    Folders whose names a manifest cannot state are refused before the training.
    """
    root = (tmp_path / folder).parent
    make_folder(root, **{Path(folder).name: 10, "dog": 10})
    with pytest.raises(
        DataError, match=r"/(caf|data)\N{REPLACEMENT CHARACTER} is not UTF-8: rename it"
    ):
        data.load(f"folder:{root}")


def test_endings_that_are_no_text(tmp_path: Path) -> None:
    """
    The kinds of files that are left out can be printed, whatever their bytes.
    """
    make_folder(tmp_path, cat=10, dog=10)
    (tmp_path / "cat" / "a.\udce9").touch()
    assert data.counted(data.load(f"folder:{tmp_path}").left_out) == "1 .\N{REPLACEMENT CHARACTER}"


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
    with pytest.raises(DataError, match=r"dog/\d+\.png: this is text"):
        data.load(f"folder:{tmp_path}").train.pixels(DIGIT)
