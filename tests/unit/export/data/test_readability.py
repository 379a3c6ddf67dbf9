"""Unreadable images are found before anything is trained, all at once."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from convoy.artifact.manifest import Preprocessing
from convoy.export import data
from convoy.export.data import readability
from convoy.export.errors import DataError
from tests.harness.images import encode

SPEC = Preprocessing(color="RGB", resize_px=8, crop_height_px=8, crop_width_px=8)


def make(root: Path, count: int = 20) -> data.DataSet:
    """A set of two classes with so many images each."""
    for name in ("cat", "dog"):
        (root / name / "more").mkdir(parents=True)
        for index in range(count):
            image = Image.new("RGB", (9, 9), (index, 0, 0))
            (root / name / "more" / f"{index}.png").write_bytes(encode(image))
    return data.load(f"folder:{root}")


def damage(paths: list[Path]) -> None:
    for path in paths:
        path.write_bytes(path.read_bytes()[:40])


def files(split: data.Split) -> list[Path]:
    return [source for source in split.sources if isinstance(source, Path)]


def check(loaded: data.DataSet, *, verified: Path | None = None, skip_bad: bool = False) -> str:
    """Check *loaded* and return what was printed."""
    output = io.StringIO()
    console = Console(file=output, width=1000)
    readability.check_images(loaded, SPEC, console, skip_bad=skip_bad, verified=verified)
    return output.getvalue()


def test_all_bad_images_are_named(tmp_path: Path) -> None:
    """
    One line names the bad images of every part, with the reason and the remedy.
    """
    loaded = make(tmp_path)
    assert check(loaded) == ""
    bad = [files(part)[0] for part in (loaded.train, loaded.validation, loaded.test)]
    damage(bad[:2])
    bad[2].unlink()
    with pytest.raises(DataError) as caught:
        check(loaded)
    message = str(caught.value)
    assert message.startswith("3 of 40 images cannot be used: ")
    assert all(f"{path}: " in message for path in bad)
    assert "the PNG image is damaged or truncated; send the original" in message
    assert "No such file" in message
    assert message.endswith("leave them out with --skip-bad-images")
    assert "\n" not in message


def test_many_bad_images_fit_a_line(tmp_path: Path) -> None:
    """
    The first ten of many are named, the others are counted.
    """
    loaded = make(tmp_path)
    damage(files(loaded.train))
    with pytest.raises(DataError, match=rf"; and {len(loaded.train) - 10} more\. Repair"):
        check(loaded)


def test_bad_images_are_left_out(tmp_path: Path) -> None:
    """
    The others keep their parts and labels, and the names are recorded.
    """
    loaded = make(tmp_path)
    bad = [files(loaded.train)[3], files(loaded.test)[0]]
    damage(bad)
    output = io.StringIO()
    console = Console(file=output, width=1000)
    kept = data.check_images(loaded, SPEC, console, skip_bad=True)
    names = tuple(sorted(path.relative_to(tmp_path).as_posix() for path in bad))
    assert kept.skipped == names
    assert output.getvalue().startswith("left out as unreadable: 2 images: ")
    assert files(kept.train) == [path for path in files(loaded.train) if path not in bad]
    assert files(kept.validation) == files(loaded.validation)
    of_class = dict(zip(files(loaded.train), loaded.train.labels, strict=True))
    assert [of_class[path] for path in files(kept.train)] == kept.train.labels.tolist()


def test_name_that_is_no_text(tmp_path: Path) -> None:
    """
    A file whose name is no UTF-8 is read, or named in text that can be written.
    """
    make(tmp_path)
    odd = tmp_path / "cat" / os.fsdecode(b"caf\xe9.png")
    odd.write_bytes(b"no image")
    loaded = data.load(f"folder:{tmp_path}")
    console = Console(file=io.StringIO(), width=1000)
    kept = data.check_images(loaded, SPEC, console, skip_bad=True, verified=tmp_path / "verified")
    assert kept.skipped == ("cat/caf\ufffd.png",)


def test_class_without_readable_images(tmp_path: Path) -> None:
    """
    A class of which nothing is left in a part is refused by name.
    """
    loaded = make(tmp_path)
    damage([path for path in files(loaded.test) if "dog" in path.parts])
    with pytest.raises(DataError, match="no readable image of class dog is left in the test part"):
        check(loaded, skip_bad=True)


def test_verified_images_are_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    An image that was decoded is remembered until the file changes.
    """
    loaded, verified = make(tmp_path / "data"), tmp_path / "runs" / "verified"
    check(loaded, verified=verified)
    decoded: list[Path] = []
    original = data.Split.decoded

    def noting(self: data.Split, index: int, spec: Preprocessing) -> Image.Image:
        decoded.extend(files(self))
        return original(self, index, spec)

    monkeypatch.setattr(data.Split, "decoded", noting)
    check(loaded, verified=verified)
    assert decoded == []
    changed = files(loaded.train)[0]
    damage([changed])
    with pytest.raises(DataError, match="1 of 40 images"):
        check(loaded, verified=verified)
    assert decoded == [changed]


def test_interrupted_check_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    After Ctrl-C, the same command decodes only what it had not decoded.
    """
    loaded, verified = make(tmp_path / "data"), tmp_path / "verified"
    monkeypatch.setattr(readability, "_CHUNK", 10)
    original, left = data.Split.decoded, 15

    def interrupting(self: data.Split, index: int, spec: Preprocessing) -> Image.Image:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return original(self, index, spec)

    monkeypatch.setattr(data.Split, "decoded", interrupting)
    with pytest.raises(KeyboardInterrupt):
        check(loaded, verified=verified)
    assert 10 <= len(np.fromfile(verified, np.uint64)) < 40
    left = 1000
    check(loaded, verified=verified)
    assert 1000 - left <= 30
    assert not list(tmp_path.glob("verified.*"))


def test_progress_of_many_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A long check tells how far it is.
    """
    loaded = make(tmp_path)
    monkeypatch.setattr(readability, "_CHUNK", 2)
    monkeypatch.setattr(readability, "_LINE_EVERY", 5)
    told = check(loaded)
    assert told.splitlines() == [f"checked {n} of 40 images" for n in (10, 20, 30)]
