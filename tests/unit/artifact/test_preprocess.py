import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from convoy.artifact.errors import ImageError, ImageTooLargeError
from convoy.artifact.image_formats import FORMATS
from convoy.artifact.manifest import InputTensor, Normalization, Preprocessing
from convoy.artifact.preprocess import ImageLimits, preprocess, to_input
from tests.harness.images import encode, gradient

WHOLE = Preprocessing(color="RGB", resize_px=30, crop_height_px=30, crop_width_px=30)


def centre(image: Image.Image) -> np.ndarray:
    """Return the part of a 40x30 image that `WHOLE` keeps: the middle 30 columns."""
    return np.asarray(image.convert("RGB"))[:, 5:35]


@pytest.mark.parametrize("file_format", FORMATS)
def test_formats(file_format: str) -> None:
    """
    Each listed format is decoded to the pixels that Pillow decodes it to.
    """
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(gradient(), file_format, **options)
    expected = centre(Image.open(io.BytesIO(data)))
    assert np.array_equal(preprocess(data, WHOLE), expected)


@pytest.mark.parametrize("data", [b"", b"x", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF"])
def test_not_an_image(data: bytes) -> None:
    """
    Bytes that are not an image are refused, and so is an empty file.
    """
    with pytest.raises(ImageError):
        preprocess(data, WHOLE)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "WEBP", "JPEG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated(file_format: str, share: float) -> None:
    """
    An image that ends too early is refused, not completed with grey.
    """
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise), file_format)
    with pytest.raises(ImageError):
        preprocess(data[: int(len(data) * share)], WHOLE)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_jpeg_with_an_end(progressive: bool, share: float) -> None:
    """
    A JPEG that was cut and closed again is refused, too.
    """
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise), "JPEG", progressive=progressive)
    with pytest.raises(ImageError):
        preprocess(data[: int(len(data) * share)] + b"\xff\xd9", WHOLE)


def test_jpeg_of_many_scans() -> None:
    """
    A scan that is repeated a thousand times is refused before it is decoded; a real progressive
    JPEG, of about ten, is not.
    """
    data = encode(gradient(size=(640, 480)), "JPEG", progressive=True)
    preprocess(data, WHOLE)
    end = len(data) - 2
    last_scan = data[data.rindex(b"\xff\xda") : end]
    with pytest.raises(ImageError, match="more than 64 scans"):
        preprocess(data[:end] + last_scan * 1000 + data[end:], WHOLE)


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


@pytest.mark.parametrize(
    ("file_format", "place", "piece"),
    [
        ("JPEG", 2, b"\xff\xfe\x00\x02"),  # empty comments
        ("JPEG", 2, b"\xff\xe0\x00\x02"),
        ("JPEG", 2, b"\xff\xff\xff\xff"),  # what fills up the space between segments
        ("JPEG", 20, b"\x00\x00\x00\x00"),  # what does not belong there
        ("PNG", 33, chunk(b"tEXt", b"a\0b")),
        ("PNG", 33, chunk(b"IDAT")),
    ],
)
def test_image_in_a_million_pieces(file_format: str, place: int, piece: bytes) -> None:
    """
    An image whose pieces would be read one by one for seconds is refused soon; a thousand are few.
    """
    data = encode(gradient(), file_format)
    preprocess(data[:place] + piece * 1000 + data[place:], WHOLE)
    many = data[:place] + piece * 500_000 + data[place:]
    with pytest.raises(ImageError, match="more than 50000 pieces"):
        preprocess(many, WHOLE)


def test_run_length_encoded_bmp() -> None:
    """
    A BMP that Pillow would decode byte by byte in Python is refused.
    """
    data = bytearray(encode(gradient("L"), "BMP"))
    data[30] = 1  # biCompression: BI_RLE8
    with pytest.raises(ImageError, match="run-length"):
        preprocess(bytes(data), WHOLE)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "JPEG"])
def test_unreadable_exif(file_format: str) -> None:
    """
    Damaged EXIF data does not affect a valid image.
    """
    exif = b"Exif\0\0" + b"garbage!" * 3
    data = encode(gradient(), file_format, exif=exif)
    assert np.array_equal(
        preprocess(data, WHOLE), preprocess(encode(gradient(), file_format), WHOLE)
    )


def test_hostile_exif_is_ignored() -> None:
    """
    An EXIF block of thousands of bad tags neither fills the log nor stays in memory.
    """
    tags = b"".join(struct.pack("<HHII", tag, 2, 1 << 24, 60_000) for tag in range(5000))
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 5000) + tags
    jpeg = encode(gradient(), "JPEG")
    data = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]
    program = (
        "import sys\n"
        "from artifact.manifest import Preprocessing\n"
        "from artifact.preprocess import preprocess\n"
        "spec = Preprocessing(color='RGB', resize_px=30, crop_height_px=30, crop_width_px=30)\n"
        "preprocess(sys.stdin.buffer.read(), spec)\n"
        "import PIL.TiffImagePlugin\n"
        "kept = getattr(PIL.TiffImagePlugin, '__warningregistry__', {})\n"
        "assert set(kept) <= {'version'}, len(kept)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_stray_bytes_in_a_jpeg() -> None:
    """
    A JPEG that every viewer shows in spite of a warning is decoded, not refused.
    """
    data = encode(gradient(), "JPEG")
    strayed = data[:20] + bytes(3) + data[20:]
    assert np.array_equal(preprocess(strayed, WHOLE), preprocess(data, WHOLE))


@pytest.mark.parametrize("segment", [b"\xff\xee\x00\x07Adobe", b"\xff\xe2\x00\x0eICC_PROFILE\0"])
def test_jpeg_that_pillow_does_not_open(segment: bytes) -> None:
    """
    A profile or a segment of Adobe's that is cut does not affect the pixels, nor the rotation.
    """
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(gradient(), "JPEG", exif=exif)
    assert np.array_equal(
        preprocess(data[:20] + segment + data[20:], WHOLE), preprocess(data, WHOLE)
    )


def test_byte_limit() -> None:
    """
    One byte too many is refused; the limit itself is not.
    """
    data = encode(gradient())
    preprocess(data, WHOLE, ImageLimits(max_bytes=len(data)))
    with pytest.raises(ImageTooLargeError, match=f"{len(data)} bytes"):
        preprocess(data, WHOLE, ImageLimits(max_bytes=len(data) - 1))


def test_pixel_limit_is_checked_in_the_header() -> None:
    """
    A header that promises too many pixels is refused although no pixel follows.
    """
    data = encode(gradient("L", (6000, 6000)))
    header = data[:60]
    with pytest.raises(ImageTooLargeError, match="6000x6000"):
        preprocess(header, WHOLE, ImageLimits(max_pixels=6000 * 6000 - 1))


def test_elongated_image_is_refused() -> None:
    """
    An image whose resized form would break the pixel limit is refused before it is decoded.
    """
    data = encode(Image.new("L", (100_000, 1)))
    with pytest.raises(ImageTooLargeError, match="elongated"):
        preprocess(data, WHOLE, ImageLimits(max_pixels=1_000_000, max_aspect_ratio=1e6))


@pytest.mark.parametrize("size", [(1001, 10), (10, 1001)])
def test_aspect_ratio(size: tuple[int, int]) -> None:
    """
    The longer side may be so many times the shorter one, and no more.
    """
    data = encode(Image.new("L", size))
    preprocess(data, WHOLE, ImageLimits(max_aspect_ratio=100.1))
    with pytest.raises(ImageTooLargeError, match="100 times as many along one side"):
        preprocess(data, WHOLE, ImageLimits(max_aspect_ratio=100))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", sorted({*FORMATS} - {"BMP", "GIF"}))
def test_exif_rotation_is_applied(orientation: int, file_format: str) -> None:
    """
    A photograph taken sideways is turned upright.
    """
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(gradient(), file_format, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    expected = np.asarray(upright.convert("RGB"))
    height, width = expected.shape[:2]
    top, left = (height - 30) // 2, (width - 30) // 2
    assert np.array_equal(preprocess(data, WHOLE), expected[top : top + 30, left : left + 30])


def test_cmyk_jpeg() -> None:
    """
    CMYK becomes RGB as Pillow converts it, for colour and for grey models.
    """
    data = encode(gradient("CMYK"), "JPEG")
    rgb = Image.open(io.BytesIO(data)).convert("RGB")
    assert np.array_equal(preprocess(data, WHOLE), centre(rgb))
    grey = WHOLE.model_copy(update={"color": "L"})
    assert np.array_equal(preprocess(data, grey)[:, :, 0], np.asarray(rgb.convert("L"))[:, 5:35])


def test_sixteen_bits_keep_the_upper_eight() -> None:
    """
    A 16-bit grey PNG is not clipped to white.
    """
    values = np.linspace(0, 65535, 900).reshape(30, 30).astype(np.uint16)
    pixels = preprocess(encode(Image.fromarray(values)), WHOLE)
    assert np.array_equal(pixels[:, :, 0], values >> 8)


def test_palette() -> None:
    """
    A palette is replaced by its colours.
    """
    image = gradient("P")
    assert np.array_equal(preprocess(encode(image), WHOLE), centre(image))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(mode: str) -> None:
    """
    Transparent pixels become white, whatever colour they hide.
    """
    image = Image.new(mode, (30, 30), 0)
    assert (preprocess(encode(image), WHOLE) == 255).all()


def test_transparent_palette_entry() -> None:
    """
    A transparent entry of a palette is white, too.
    """
    image = Image.new("P", (30, 30), 0)
    image.putpalette([9, 9, 9])
    assert (preprocess(encode(image, transparency=0), WHOLE) == 255).all()


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_first_frame_of_an_animation(file_format: str) -> None:
    """
    The first frame of an animation counts.
    """
    first, second = Image.new("RGB", (30, 30), "red"), Image.new("RGB", (30, 30), "blue")
    data = encode(
        first, file_format, save_all=True, append_images=[second], lossless=True, duration=100
    )
    assert (preprocess(data, WHOLE) == (255, 0, 0)).all()


def test_bilevel() -> None:
    """
    Black and white stay black and white.
    """
    assert (preprocess(encode(Image.new("1", (30, 30), 1)), WHOLE) == 255).all()


def test_mnist_is_padded_never_resized() -> None:
    """
    A 28x28 digit keeps its pixels and gets two black ones on each side.
    """
    spec = Preprocessing(color="L", resize_px=28, crop_height_px=28, crop_width_px=28, pad_px=2)
    digit = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    pixels = preprocess(encode(Image.fromarray(digit)), spec)
    assert pixels.shape == (32, 32, 1)
    assert np.array_equal(pixels[2:30, 2:30, 0], digit)
    assert pixels.sum() == digit.sum()


def test_resize_and_crop_as_torchvision() -> None:
    """
    The shorter side is resized and the centre cropped, as the public weights saw it.
    """
    spec = Preprocessing(
        color="RGB",
        resize_px=24,
        crop_height_px=20,
        crop_width_px=20,
        interpolation="bicubic",
    )
    image = gradient(size=(61, 47))
    resized = image.resize((int(24 * 61 / 47), 24), Image.Resampling.BICUBIC)
    left = round((resized.width - 20) / 2)
    expected = np.asarray(resized)[2:22, left : left + 20]
    assert np.array_equal(preprocess(encode(image), spec), expected)


def test_bgr() -> None:
    """
    A model that was trained on BGR gets BGR.
    """
    bgr = WHOLE.model_copy(update={"color": "BGR"})
    data = encode(gradient())
    assert np.array_equal(preprocess(data, bgr), preprocess(data, WHOLE)[:, :, ::-1])


def test_to_input_normalises_where_the_server_must() -> None:
    """
    A float model without normalisation in its graph gets normalised pixels in its layout.
    """
    tensor = InputTensor(name="x", dtype="float32", layout="NCHW", channels=3, height=30, width=30)
    normalization = Normalization(mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.25), where="server")
    pixels = preprocess(encode(gradient()), WHOLE)
    values = to_input(pixels, tensor, normalization)
    assert values.shape == (3, 30, 30)
    assert values.dtype == np.float32
    expected = (pixels[:, :, 2] / 255 - 0.3) / 0.25
    assert np.allclose(values[2], expected, atol=1e-6)


def test_graph_normalises_itself() -> None:
    """
    A uint8 model gets the pixels themselves; a float one that normalises gets 0 to 255.
    """
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    graph = Normalization(mean=(0, 0, 0), std=(1, 1, 1), where="graph")
    as_is = InputTensor(name="x", dtype="uint8", layout="NHWC", channels=3, height=2, width=2)
    assert to_input(pixels, as_is, graph) is pixels
    half = as_is.model_copy(update={"dtype": "float16"})
    assert np.array_equal(to_input(pixels, half, graph), pixels.astype(np.float16))
