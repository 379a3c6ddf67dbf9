"""Properties of an ONNX file: those of Ultralytics, of Windows ML, and names of classes."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from typing import Any

from convoy.export.data.labels import labels_of
from convoy.export.importing.metadata.companion import Companion, Options
from convoy.export.importing.signature import GraphShape

_LABELS = ("names", "labels", "classes", "class_names", "class_labels", "id2label")
"""Properties that hold names of classes; the first is Ultralytics'."""

_COLORS = {"gray8": "L", "rgb8": "RGB", "bgr8": "BGR", "rgba8": "RGB", "bgra8": "BGR"}
"""`Image.BitmapPixelFormat`, by ONNX's MetadataProps.md, as Custom Vision writes it."""

_RANGES = {
    "nominalrange_0_255": ((0.0,), (1 / 255,)),
    "normalized_0_1": ((0.0,), (1.0,)),
    "normalized_1_1": ((0.5,), (0.5,)),
}
"""Mean and std for each `Image.NominalPixelRange`."""


@dataclass(frozen=True, slots=True)
class Properties(Companion):
    """The `metadata_props` of an ONNX file: texts by name."""

    @property
    def _is_ultralytics(self) -> bool:
        return self.fields.get("task") == "classify" and "imgsz" in self.fields

    def labels(self) -> list[Any] | None:
        for name in _LABELS:
            if name in self.fields and (found := _names(self.name, self.fields[name])):
                return found
        return None

    def sizes(self, shape: GraphShape) -> Options:
        """Return Ultralytics' sizes: the shorter side is resized, or a rectangle squashed."""
        if not self._is_ultralytics:
            return {}
        imgsz = _literal(self.fields["imgsz"])
        size = (imgsz, imgsz) if isinstance(imgsz, int) else tuple(map(int, imgsz))
        height, width = shape.size or size
        sizes: Options = {"crop": (height, width), "crop_offset": "even"}
        if height == width:
            return sizes | {"resize": height, "resize_mode": "crop"}
        return sizes | {"resize": (height, width), "resize_mode": "squash"}

    def filter(self) -> Options:
        return {"interpolation": "bilinear", "antialias": True} if self._is_ultralytics else {}

    def channels(self, shape: GraphShape) -> Options:
        color = _COLORS.get(self.fields.get("Image.BitmapPixelFormat", "").lower())
        if color is None and self._is_ultralytics and shape.channels != 1:
            color = "RGB"
        return {} if color is None else {"color": color}

    def values(self) -> Options:
        found = _RANGES.get(self.fields.get("Image.NominalPixelRange", "").lower())
        if found is None and self._is_ultralytics:
            found = _RANGES["normalized_0_1"]
        return {} if found is None else {"mean": found[0], "std": found[1]}


def _names(name: str, text: str) -> list[Any] | None:
    """Return the labels in *text*: JSON, a literal of Python, or a list with commas or lines."""
    try:
        value = _literal(text)
    except ValueError:
        value = text.split("\n" if "\n" in text else ",")
        value = [part.strip() for part in value if part.strip()]
    return labels_of(name, value)


def _literal(text: str) -> Any:
    """Return the value of JSON, or of a literal of Python; raise ValueError if it is neither."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text[:40]!r} is not a literal") from error
