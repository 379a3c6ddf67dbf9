import os
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from convoy.commands.output_files import Drawing, explain, prepare


def test_folders_are_made(tmp_path: Path) -> None:
    """
    The folder of a file is made; the file itself is not left there, and an old one is kept.
    """
    old = tmp_path / "old.json"
    old.write_text("results")
    prepare(None, tmp_path / "new/results.json", old)
    assert list((tmp_path / "new").iterdir()) == []
    assert old.read_text() == "results"


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    """
    A folder, and a file below a file, are errors that name the path.
    """
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file/results.json"):
        with pytest.raises(OSError, match=r"directory|exists") as failed:
            prepare(path)
        assert explain(failed.value).startswith(str(tmp_path))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_full_disk() -> None:
    """
    The error of a full disk names no file; the line is without one.
    """
    with pytest.raises(OSError, match="No space left") as failed:
        Path("/dev/full").write_text("results")
    assert explain(failed.value) == "No space left on device"


def test_reader_that_ends() -> None:
    """
    The end of whoever reads the output is passed on, to end the command without an error.
    """
    with pytest.raises(BrokenPipeError):
        explain(BrokenPipeError())


def test_drawing() -> None:
    """
    A figure is PNG or SVG; another suffix is refused before anything is measured.
    """
    drawing = TypeAdapter(Drawing)
    assert drawing.validate_python("x.PNG") == Path("x.PNG")
    with pytest.raises(ValidationError, match=r"'x\.gif' must end in \.png or \.svg"):
        drawing.validate_python("x.gif")
