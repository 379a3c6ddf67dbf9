"""Image files that commands read."""

import errno
import os
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from convoy.__main__ import main
from convoy.commands.image_files import find_images, read_image


def test_folder_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A folder that may not be read ends a command with one line in the words of the others.
    """

    def refuse(path: str) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr("convoy.commands.image_files.images_below", refuse)
    assert main(["classify", str(tmp_path), "--model", "m"]) == 1
    assert capsys.readouterr().err == f"convoy classify: {tmp_path}: Permission denied\n"


def test_pipes(tmp_path: Path) -> None:
    """
    Nobody waits for a pipe in a folder; one that the user names is read, as of `<(program)`.
    """
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    (tmp_path / "image.png").write_bytes(b"image")
    image, found = find_images([tmp_path])
    assert read_image(image, [tmp_path]) == b"image"
    with pytest.raises(OSError, match="not a file, but a pipe or a socket"):
        read_image(found, [tmp_path])
    writer = threading.Thread(target=pipe.write_bytes, args=[b"piped"])
    writer.start()
    assert read_image(pipe, [pipe]) == b"piped"
    writer.join()
