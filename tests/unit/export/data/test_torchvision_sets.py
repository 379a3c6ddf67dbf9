"""torchvision's sets, read from small files in the sets' own formats."""

import hashlib
import pickle
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10, MNIST

from convoy.artifact.manifest import Preprocessing
from convoy.export import data
from convoy.export.errors import DataError
from tests.harness.images import encode

Pixels = npt.NDArray[np.uint8]


def spec(color: str, side_px: int) -> Preprocessing:
    return Preprocessing.model_validate(
        {
            "color": color,
            "resize_px": side_px,
            "crop_height_px": side_px,
            "crop_width_px": side_px,
        }
    )


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def labels(count: int) -> Pixels:
    """0 to 9, over and over."""
    return np.arange(count, dtype=np.uint8) % 10


def write_idx(path: Path, values: Pixels) -> None:
    """A file of MNIST: zeros, numbers of type and dimensions, the sizes, the values."""
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.tobytes())


def make_mnist(root: Path, images: Mapping[str, Pixels]) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, pixels in images.items():
        write_idx(raw / f"{part}-images-idx3-ubyte", pixels)
        write_idx(raw / f"{part}-labels-idx1-ubyte", labels(len(pixels)))


def test_mnist(tmp_path: Path) -> None:
    """
    The set's own test part is the test; a tenth of each class of the other validates.
    """
    train, test = noise(200, 28, 28), noise(20, 28, 28)[::-1]
    make_mnist(tmp_path, {"train": train, "t10k": test})
    loaded = data.load(f"mnist:{tmp_path}")
    assert loaded.name == "mnist"
    assert loaded.labels[3] == "3 - three"
    assert np.bincount(loaded.train.labels).tolist() == [18] * 10
    assert np.bincount(loaded.validation.labels).tolist() == [2] * 10
    assert (loaded.test.pixels(spec("L", 28))[..., 0] == test).all()
    assert loaded.test.labels.tolist() == labels(20).tolist()
    parts = (loaded.train + loaded.validation).pixels(spec("L", 28))
    assert sorted(image.tobytes() for image in parts) == sorted(image.tobytes() for image in train)


def test_split_never_changes(tmp_path: Path) -> None:
    """
    The same images validate every time.
    """
    make_mnist(tmp_path, {"train": noise(200, 28, 28), "t10k": noise(10, 28, 28)})
    first, second = data.load(f"mnist:{tmp_path}"), data.load(f"mnist:{tmp_path}")
    assert list(first.validation.sources) == list(second.validation.sources)
    assert not set(first.validation.sources) & set(first.train.sources)


def test_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without a folder, `data` in the current one is taken.
    """
    make_mnist(tmp_path / "data", {"train": noise(100, 28, 28), "t10k": noise(10, 28, 28)})
    monkeypatch.chdir(tmp_path)
    assert len(data.load("mnist").test) == 10


def make_cifar(folder: Path, monkeypatch: pytest.MonkeyPatch, images: Mapping[str, Pixels]) -> None:
    """Batches of CIFAR-10; torchvision is told their checksums instead of the real ones."""
    folder.mkdir(parents=True)
    sums = {}
    for name, pixels in images.items():
        rows = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
        sums[name] = write_pickle(
            folder / name, {"data": rows, "labels": labels(len(pixels)).tolist()}
        )
    names = [f"class {index}" for index in range(10)]
    meta = write_pickle(folder / "batches.meta", {"label_names": names})
    *train, test = sums.items()
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [test])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": meta})


def write_pickle(path: Path, content: object) -> str:
    """Write *content*, and return the file's MD5."""
    path.write_bytes(pickle.dumps(content))
    return md5_of(path)


def md5_of(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


CIFAR = {
    "data_batch_1": noise(60, 32, 32, 3),
    "data_batch_2": noise(40, 32, 32, 3),
    "test_batch": noise(10, 32, 32, 3),
}


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Its batches are joined, its classes named, and its pixels are RGB.
    """
    make_cifar(tmp_path / "cifar-10-batches-py", monkeypatch, CIFAR)
    loaded = data.load(f"cifar10:{tmp_path}")
    assert loaded.labels == tuple(f"class {index}" for index in range(10))
    assert [len(p) for p in (loaded.train, loaded.validation, loaded.test)] == [90, 10, 10]
    assert (loaded.test.pixels(spec("RGB", 32)) == CIFAR["test_batch"]).all()


def test_archive_in_the_folder_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without a network, it is enough to put the archive where it would be downloaded to.
    """
    make_cifar(tmp_path / "made" / "cifar-10-batches-py", monkeypatch, CIFAR)
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5_of(archive))
    assert len(data.load(f"cifar10:{tmp_path}").test) == 10


def make_photos(root: Path, numbers: Sequence[str], **counts: int) -> None:
    """Small JPEGs in a folder for each of WordNet's *numbers* in each part."""
    for part, count in counts.items():
        for number in numbers:
            folder = root / part / number
            folder.mkdir(parents=True)
            for index in range(count):
                photo = encode(Image.new("RGB", (8, 8), (index, 0, 0)), "JPEG")
                (folder / f"{number}_{index}.JPEG").write_bytes(photo)


def test_imagenette(tmp_path: Path) -> None:
    """
    Photographs stay files; a class has the first of its names.
    """
    root = tmp_path / "imagenette2"
    make_photos(root, ["n01440764", "n03888257"], train=20, val=2)
    loaded = data.load(f"imagenette:{tmp_path}")
    assert loaded.labels == ("tench", "parachute")
    assert [len(p) for p in (loaded.train, loaded.validation, loaded.test)] == [36, 4, 4]
    assert loaded.test.sources[3] == root / "val" / "n03888257" / "n03888257_1.JPEG"
    assert loaded.test.decoded(3, spec("RGB", 8)).size == (8, 8)


IMAGENET = {
    "n01440764": ("tench", "Tinca tinca"),
    "n02012849": ("crane",),
    "n03126707": ("crane",),
}


def make_imagenet(root: Path) -> None:
    """The folder as torchvision leaves it once it has unpacked the archives."""
    make_photos(root, list(IMAGENET), train=10, val=1)
    torch.save((IMAGENET, list(IMAGENET)), root / "meta.bin")


def test_imagenet(tmp_path: Path) -> None:
    """
    Its classes are named as the labels of torchvision's weights: each has a name of its own.
    """
    make_imagenet(tmp_path)
    loaded = data.load(f"imagenet:{tmp_path}")
    assert loaded.labels == ("tench", "crane bird", "crane")
    assert [len(p) for p in (loaded.train, loaded.validation, loaded.test)] == [27, 3, 3]
    assert loaded.test.labels.tolist() == [0, 1, 2]


def test_parts_with_other_classes(tmp_path: Path) -> None:
    """
    A set of which a part lacks a class is refused: its labels would be wrong.
    """
    make_imagenet(tmp_path)
    for photo in (tmp_path / "val" / "n02012849").iterdir():
        photo.unlink()
    (tmp_path / "val" / "n02012849").rmdir()
    with pytest.raises(DataError, match=r"parts of imagenet in .* have different classes"):
        data.load(f"imagenet:{tmp_path}")


def test_imagenet_that_is_not_there(tmp_path: Path) -> None:
    """
    ImageNet is not downloaded; the message says what to put where.
    """
    with pytest.raises(
        DataError, match=r"img_val\.tar into .*nowhere; only image-net\.org"
    ) as told:
        data.load(f"imagenet:{tmp_path / 'nowhere'}")
    assert "\n" not in str(told.value)


def test_failed_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The message of a failed download says what to do without one.
    """
    monkeypatch.setattr(MNIST, "mirrors", [f"{tmp_path.as_uri()}/nowhere/"])
    monkeypatch.setattr(CIFAR10, "url", f"{tmp_path.as_uri()}/nowhere/cifar.tgz")
    for name, advice in (("mnist", "MNIST/raw"), ("cifar10", r"cifar-10-python\.tar\.gz")):
        with pytest.raises(DataError, match=f"load {name} .*without a network, .*{advice}") as told:
            data.load(f"{name}:{tmp_path}")
        assert "\n" not in str(told.value)


def test_damaged_file(tmp_path: Path) -> None:
    """
    A file that torchvision stumbles over is an error of one line.
    """
    make_mnist(tmp_path, {"train": noise(10, 28, 28), "t10k": noise(10, 28, 28)})
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"\0\0\0\0nope")
    with pytest.raises(DataError, match="cannot load mnist") as told:
        data.load(f"mnist:{tmp_path}")
    assert "\n" not in str(told.value)
