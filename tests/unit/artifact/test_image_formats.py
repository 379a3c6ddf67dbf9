"""Formats are told apart by content, and each refusal says what the file is and what to do."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from convoy.artifact import image_formats
from convoy.artifact.errors import ImageError
from convoy.artifact.manifest import Preprocessing
from convoy.artifact.preprocess import is_image, preprocess
from convoy.commands.image_files import IMAGE_SUFFIXES
from tests.harness.images import encode, gradient

SPEC = Preprocessing(color="RGB", resize_px=8, crop_height_px=8, crop_width_px=8)


def zipped() -> bytes:
    """A zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "a")
    return file.getvalue()


def tarred() -> bytes:
    """A tar archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return file.getvalue()


def saved(array: np.ndarray) -> bytes:
    """A NumPy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def box(brand: bytes) -> bytes:
    """The first box of a file of ISO's base media format."""
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\2\0isomiso2" + bytes(40)


CANON = "a camera's raw file (CR2"

OTHERS = [
    (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
    (b'<?xml version="1.0"?>\n<!-- made by -->\n<svg/>', "an SVG drawing"),
    (b"8BPS\0\1" + bytes(20), "a Photoshop file"),
    (b"\xff\x0a" + bytes(20), "a JPEG XL image"),
    (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), "a JPEG XL image"),
    (encode(gradient(), "JPEG2000"), "a JPEG 2000 image"),
    (encode(gradient(size=(16, 16)), "ICO"), "an icon"),
    (encode(gradient(), "TGA"), "a TGA image"),
    (encode(gradient(), "PPM"), "a Netpbm image"),
    (encode(gradient(), "PCX"), "a PCX image"),
    (encode(gradient(), "DDS"), "a DDS texture"),
    (encode(gradient(), "EPS"), "a PostScript file"),
    (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), CANON),
    (box(b"crx "), "a camera's raw file"),
    (b"FUJIFILMCCD-RAW 0201" + bytes(40), "a camera's raw file"),
    (b"IIRO\x08\0\0\0" + bytes(40), "a camera's raw file"),
    (b"IIU\0\x18\0\0\0" + bytes(40), "a camera's raw file"),
    (box(b"mp42"), "an MP4 video"),
    (box(b"isom"), "an MP4 video"),
    (box(b"qt  "), "a MOV video"),
    (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81", "a WebM or Matroska video"),
    (b"RIFF\x10\0\0\0AVI LIST", "an AVI video"),
    (zipped(), "a zip archive"),
    (tarred(), "a tar archive"),
    (b"\x1f\x8b\x08\0" + bytes(9), "a gzip file"),
    (saved(np.zeros(3)), "a NumPy array"),
    (b"<!DOCTYPE html>\n<html><body>404</body></html>", "an HTML page"),
    (b"\n<html>Sign in</html>", "an HTML page"),
    (b'{"error": "not found"}', "JSON"),
    (b"Not found", "text"),
    ("Größe: 3 €".encode(), "text"),
    (b"BMW, Opel", "text"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
    (b"data:image/png;base64,iVBORw0KGgo", "a data URL; send the bytes"),
    (b"iVBORw0KGgoAAAANSUhEUgAA", "in base64; send the bytes"),
    (b"/9j/4AAQSkZJRgABAQ", "in base64; send the bytes"),
    (b"\0\x05\x16\x07\0\2\0\0Mac OS X", "AppleDouble"),
    (bytes(1000), "a file of zeros"),
    (b"\x9c\x01\xf2\x83\xa7\xd9\x00\x11", "begins with the bytes 9c 01 f2 83"),
]


@pytest.mark.parametrize(("data", "name"), OTHERS)
def test_other_formats_are_named(data: bytes, name: str) -> None:
    """
    The refusal of a file in another format names the format, and those that are read.
    """
    with pytest.raises(ImageError) as refused:
        preprocess(data, SPEC)
    told = str(refused.value)
    assert name in told
    assert told.startswith("this is ")
    assert any(remedy in told for remedy in ("send", "fetch", "convert"))
    assert is_image(data) is (name == CANON)  # a TIFF, by its header


def test_empty_file() -> None:
    """
    An empty file is named as such.
    """
    with pytest.raises(ImageError, match=r"is empty \(0 bytes\); send an image"):
        preprocess(b"", SPEC)


@pytest.mark.parametrize("file_format", image_formats.FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
def test_truncated_file(file_format: str, share: float) -> None:
    """
    A truncated file in a format that is read is called truncated, not unknown.
    """
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise), file_format)
    name = {"HEIF": "HEIC", "WEBP": "WebP"}.get(file_format, file_format)
    with pytest.raises(ImageError, match=rf"{name} image is .*truncated.*; send the original file"):
        preprocess(data[: int(len(data) * share)], SPEC)


@pytest.mark.parametrize("file_format", image_formats.FORMATS)
def test_formats_that_are_read(file_format: str) -> None:
    """
    Each is recognised by its content.
    """
    assert is_image(encode(gradient(), file_format))
    assert file_format in image_formats.NAMES.upper().replace("HEIC", "HEIF")


def test_suffixes_of_the_command_line() -> None:
    """
    The command line, which has no Pillow, finds the same files in a folder.
    """
    heic = {".heic", ".heif", ".hif"}
    assert IMAGE_SUFFIXES | heic == image_formats.SUFFIXES | heic == IMAGE_SUFFIXES


def test_heic_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An installation without the extra says how to read HEIC.
    """
    monkeypatch.setattr(image_formats, "HAS_HEIF", False)
    monkeypatch.setattr(image_formats, "FORMATS", ("JPEG", "AVIF"))
    for brand in (b"heic", b"heix", b"mif1"):
        with pytest.raises(ImageError, match=r"a HEIC image.*install the extra heif"):
            preprocess(box(brand), SPEC)
