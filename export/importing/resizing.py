"""The options about sizes, for a graph's input: from the image to the pixels that it takes."""

from __future__ import annotations

from convoy.artifact.manifest import InputTensor, Preprocessing
from convoy.export.errors import GraphError
from convoy.export.importing.import_settings import ImportSettings

MAX_PX = 4096
"""Maximum pixels of a side after resizing, as the manifest limits them."""

_Size = tuple[int, int]


def make_preprocessing(tensor: InputTensor, settings: ImportSettings) -> Preprocessing:
    """
    Return the preprocessing by *settings* that makes the input *tensor*.

    Raises:
        GraphError: If *settings* contradict the input, or each other; names the flag.
    """
    crop = _crop(tensor, settings)
    if not settings.antialias and settings.interpolation not in ("nearest", "bilinear", "bicubic"):
        raise GraphError(
            f"--interpolation {settings.interpolation} is always antialiased: leave out "
            "--no-antialias, or choose nearest, bilinear or bicubic"
        )
    spec = Preprocessing(
        color=settings.color or ("L" if tensor.channels == 1 else "RGB"),
        resize_px=_resize(crop, settings),
        letterbox=_letterbox(tensor, settings),
        interpolation=settings.interpolation,
        antialias=settings.antialias,
        crop_height_px=crop[0],
        crop_width_px=crop[1],
        crop_offset=settings.crop_offset,
        pad_px=settings.pad,
    )
    return spec.model_copy(update={"scaled_decoding": settings.scaled_decoding and spec.averages})


def _crop(tensor: InputTensor, settings: ImportSettings) -> _Size:
    border = 2 * settings.pad
    # Without a crop, it is the input less the padding.
    height, width = settings.crop or (tensor.height - border, tensor.width - border)
    if (height + border, width + border) != (tensor.height, tensor.width) or min(height, width) < 1:
        raise GraphError(
            f"input {tensor.name} takes {tensor.height}x{tensor.width} pixels, which is not "
            f"--crop {height}x{width} with --pad {settings.pad} on each side"
        )
    if max(height, width) > MAX_PX:
        raise GraphError(f"a crop of {height}x{width} is too large; the maximum is {MAX_PX}")
    return height, width


def _mode(settings: ImportSettings) -> str:
    by_size = "squash" if isinstance(settings.resize, tuple) else "crop"
    return settings.resize_mode or by_size


def _resize(crop: _Size, settings: ImportSettings) -> int | _Size:
    """Return the shorter side; or height and width, for images that are not only cropped."""
    mode, resize = _mode(settings), settings.resize
    smallest = max(crop) if mode == "crop" else crop
    size = resize or smallest
    # A shorter side.
    if mode == "crop":
        if isinstance(size, tuple):
            raise GraphError(
                f"--resize {_text(size)} names height and width: say --resize-mode squash or "
                "letterbox, or give the shorter side alone"
            )
        _check_covers((size, size), crop, settings)
        return size
    # Height and width: one number is both, if the crop is a square, too.
    if isinstance(size, int):
        if crop[0] != crop[1]:
            raise GraphError(
                f"--resize {size} with --resize-mode {mode} needs both sides, as the crop is "
                f"{_text(crop)}: give --resize HEIGHTxWIDTH"
            )
        size = (size, size)
    # A letterbox fills what is missing.
    if mode == "squash":
        _check_covers(size, crop, settings)
    return size


def _check_covers(size: _Size, crop: _Size, settings: ImportSettings) -> None:
    if size[0] < crop[0] or size[1] < crop[1]:
        given = settings.resize if isinstance(settings.resize, int) else _text(size)
        raise GraphError(
            f"--resize {given} is smaller than the crop, {_text(crop)}: raise it, or leave it out"
        )


def _letterbox(tensor: InputTensor, settings: ImportSettings) -> tuple[int, ...] | None:
    if _mode(settings) != "letterbox":
        if settings.fill != (0,):
            raise GraphError("--fill is for --resize-mode letterbox; leave it out")
        return None
    if len(settings.fill) not in (1, tensor.channels):
        raise GraphError(
            f"--fill has {len(settings.fill)} numbers, input {tensor.name} has {tensor.channels} "
            "channels: give one number, or one per channel"
        )
    # One number holds for every channel.
    return settings.fill if len(settings.fill) == tensor.channels else settings.fill * 3


def _text(size: _Size) -> str:
    return f"{size[0]}x{size[1]}"
