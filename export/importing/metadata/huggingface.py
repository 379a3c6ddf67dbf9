"""Hugging Face's files: `preprocessor_config.json`, `processor_config.json` and `config.json`.

The rules are those of transformers' image processors. Files leave out what is the default of their
class, so the defaults that differ between classes are repeated here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convoy.export.data.labels import labels_under_key
from convoy.export.errors import DataError
from convoy.export.importing.metadata.companion import Companion, Options
from convoy.export.importing.signature import GraphShape

_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's filters by their numbers, which `resample` holds."""

_BY_SHORTER_SIDE = {
    *("Bit", "ChineseCLIP", "CLIP", "ConvNext", "Levit", "MobileNetV1", "MobileNetV2"),
    *("MobileViT", "PoolFormer"),
}
"""Classes that take one number for the shorter side; others for both sides."""

_CROPPING = {*_BY_SHORTER_SIDE - {"ConvNext"}, "DeiT"}
"""Classes that crop unless their file says otherwise."""

_DEFAULT_FILTER = {
    **dict.fromkeys(("MobileNetV1", "MobileNetV2", "MobileViT", "Segformer", "ViT"), "bilinear"),
    "EfficientNet": "nearest",
}
"""`resample` by class, for files that leave it out; bicubic for all others."""

_SQUASHING = {"EfficientNet", "Segformer", "ViT"}
"""Classes that squash images to the size that their network takes."""

_DEFAULT_PX = {
    **dict.fromkeys(("Bit", "ChineseCLIP", "CLIP", "Levit", "MobileViT", "PoolFormer"), 224),
    **dict.fromkeys(("DeiT", "MobileNetV1", "MobileNetV2"), 256),
    **{"ConvNext": 384, "EfficientNet": 346, "Segformer": 512, "ViT": 224},
}
"""`size` by class, for files that leave it out."""

_DEFAULT_CROP_PX = {"MobileViT": 256}
"""`crop_size` by class, for files that leave out both sizes; 224 for all others."""

_CONVNEXT_SQUASHED_PX = 384
"""ConvNeXt's images of this size or larger are squashed, smaller ones are cropped."""

_CROP_PCT = {"ConvNext": 224 / 256, "Levit": 224 / 256, "PoolFormer": 0.9}
"""Side of the crop, as a share of the side after resizing."""

_Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ModelConfig(Companion):
    """A `config.json` of transformers: labels and the size of images, but not the way to it."""

    @property
    def is_classifier(self) -> bool:
        return bool(labels_under_key(self.name, self.fields))

    def labels(self) -> list[Any] | None:
        labels = labels_under_key(self.name, self.fields)
        # transformers numbers classes in this way if it was given no names.
        numbered = [f"LABEL_{index}" for index in range(len(labels or ()))]
        return None if labels == numbered else labels

    def sizes(self, shape: GraphShape) -> Options:
        """Return the crop, for a graph that leaves its size open."""
        size = self.fields.get("image_size")
        if shape.size or not size:
            return {}
        return {"crop": (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))}

    def channels(self, shape: GraphShape) -> Options:
        # These graphs come from PyTorch.
        is_open = shape.is_layout_open and "image_size" in self.fields
        color = "L" if self.fields.get("num_channels") == 1 else "RGB"
        return {"layout": "NCHW", "color": color} if is_open else {}


@dataclass(frozen=True, slots=True)
class ImageProcessor(Companion):
    """The configuration of an image processor of transformers."""

    @property
    def _kind(self) -> str:
        """Return the processor's class without its endings: `ViT`, `ConvNext`."""
        found = self.fields.get("image_processor_type") or self.fields.get("feature_extractor_type")
        name = str(found or "")
        for ending in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
            name = name.removesuffix(ending)
        return name

    def _is_on(self, step: str, default: bool = True) -> bool:
        found = self.fields.get(step)
        return default if found is None else bool(found)

    def sizes(self, shape: GraphShape) -> Options:
        if not self._is_on("do_resize"):
            raise DataError(
                f"{self.name}: do_resize false takes images as they are, or crops them; the server "
                "resizes every image first"
            )
        if self._is_on("do_pad", False):
            raise DataError(f"{self.name}: images with do_pad true are not supported")
        if self._kind == "Perceiver":
            raise DataError(f"{self.name}: a crop before resizing is not supported")
        resize, crop = self._resize_and_crop(shape)
        mode = "crop" if isinstance(resize, int) else "squash"
        return {"resize": resize, "resize_mode": mode, "crop": crop, "crop_offset": "down"}

    def _resize_and_crop(self, shape: GraphShape) -> tuple[int | _Size, _Size]:
        size, share = self._size(shape), self._crop_share
        # ConvNeXt squashes its larger images and crops the smaller ones.
        if self._kind == "ConvNext" and isinstance(size, int):
            is_squashed = size >= _CONVNEXT_SQUASHED_PX
            return ((size, size) if is_squashed else int(size / share)), (size, size)
        # A share is that of the shorter side, in either notation of a square.
        if share != 1:
            side = size if isinstance(size, int) else size[0]
            if size not in (side, (side, side)):
                raise DataError(
                    f"{self.name}: crop_pct is not supported for an image that is not square"
                )
            return int(side / share), self._crop(shape) or (side, side)
        crop = self._crop(shape) or (None if isinstance(size, int) else size)
        if crop is None:
            raise DataError(
                f"{self.name}: images keep their ratio and are not cropped, so that each has a "
                "size of its own; the server gives all of them one size"
            )
        return size, crop

    @property
    def _crop_share(self) -> float:
        return float(self.fields.get("crop_pct") or _CROP_PCT.get(self._kind, 1))

    def _size(self, shape: GraphShape) -> int | _Size:
        """Return the shorter side, or height and width."""
        size = self.fields.get("size")
        if size is None:
            return self._default_size(shape)
        # Files of before 2023 have numbers.
        if isinstance(size, int):
            return size if self._kind in _BY_SHORTER_SIDE else (size, size)
        if isinstance(size, list):
            height, width = size
            return int(height), int(width)
        if size.keys() == {"shortest_edge"}:
            return int(size["shortest_edge"])
        if size.keys() == {"height", "width"}:
            return int(size["height"]), int(size["width"])
        raise DataError(f"{self.name}: a size of {', '.join(size)} is not supported")

    def _default_size(self, shape: GraphShape) -> int | _Size:
        """Return the size of a file that states none."""
        if self._kind in _SQUASHING and shape.size:
            return shape.size
        if (side := _DEFAULT_PX.get(self._kind)) is None:
            raise DataError(f"{self.name}: states no size for its images")
        return side if self._kind in _BY_SHORTER_SIDE else (side, side)

    def _crop(self, shape: GraphShape) -> _Size | None:
        if not self._is_on("do_center_crop", self._kind in _CROPPING):
            return None
        crop = self.fields.get("crop_size")
        if crop is None and self.fields.get("size") is None:
            crop = _DEFAULT_CROP_PX.get(self._kind, 224)
        if crop is None:
            return shape.size
        if isinstance(crop, int):
            return crop, crop
        height, width = crop if isinstance(crop, list) else (crop["height"], crop["width"])
        return int(height), int(width)

    def filter(self) -> Options:
        resample = self.fields.get("resample")
        if resample is None:
            name = _DEFAULT_FILTER.get(self._kind, "bicubic")
        else:
            name = _FILTERS[resample] if isinstance(resample, int) else str(resample).lower()
        return {"interpolation": name, "antialias": True}

    def channels(self, shape: GraphShape) -> Options:
        is_flipped = self._is_on("do_flip_channel_order", self._kind == "MobileViT")
        options: Options = {} if shape.channels == 1 else {"color": "BGR" if is_flipped else "RGB"}
        return options | ({"layout": "NCHW"} if shape.is_layout_open else {})

    def values(self) -> Options:
        """
        Return mean and std of pixels in `[0, 1]`.

        The processor computes `(pixel * factor - offset - mean) / std` for pixels of 0 to 255.
        """
        factor = 1.0
        if self._is_on("do_rescale"):
            factor = float(self.fields.get("rescale_factor") or 1 / 255)
        mean, std = [0.0], [1.0]
        if self._is_on("do_normalize", self._kind != "MobileViT"):
            mean, std = self._stated("image_mean"), self._stated("image_std")
        if self._is_on("rescale_offset", False):
            mean = [value + 1 for value in mean]
        # EfficientNet divides by the deviations once more.
        if self._is_on("include_top", self._kind == "EfficientNet"):
            twice = self._stated("image_std")
            std = [
                one * two for one, two in zip(std * (len(twice) // len(std)), twice, strict=True)
            ]
        scale = 255 * factor
        return {
            "mean": tuple(value / scale for value in mean),
            "std": tuple(value / scale for value in std),
        }

    def _stated(self, name: str) -> list[float]:
        """Return the numbers under *name*, which transformers may leave to its class."""
        if (value := self.fields.get(name)) is None:
            raise DataError(f"{self.name}: states no {name}, but normalises images")
        return _numbers(value)


def _numbers(value: Any) -> list[float]:
    return [float(number) for number in (value if isinstance(value, list) else [value])]


def processor_fields(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the image processor's part of *document*, which may hold several processors."""
    part = document.get("image_processor", document)
    return part if isinstance(part, dict) else {}
