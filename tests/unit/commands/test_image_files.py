"""Image files that commands read."""

import os
import threading
from pathlib import Path

import pytest

from convoy.commands.image_files import find_images, read_image


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
