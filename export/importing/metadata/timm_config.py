"""timm's `pretrained_cfg`: in a `config.json` of its own, of transformers', or by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convoy.export.data.labels import labels_under_key
from convoy.export.errors import DataError
from convoy.export.importing.metadata.companion import Companion, Options
from convoy.export.importing.signature import GraphShape

_CROP_PCT, _MODE, _FILTER = 0.875, "center", "bicubic"
"""timm's defaults."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pretrained_cfg(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the `pretrained_cfg` in *document*; None if there is none."""
    found = document.get("pretrained_cfg", document)
    return found if isinstance(found, dict) and "input_size" in found else None


@dataclass(frozen=True, slots=True)
class TimmConfig(Companion):
    """A document with a `pretrained_cfg`."""

    @property
    def _cfg(self) -> Mapping[str, Any]:
        return pretrained_cfg(self.fields) or {}

    def labels(self) -> list[Any] | None:
        return labels_under_key(self.name, self.fields) or labels_under_key(self.name, self._cfg)

    def sizes(self, shape: GraphShape) -> Options:
        """Return the sizes for the graph's own input: timm keeps the share of the crop."""
        crop, share = self._crop_and_share(shape)
        resize = math.floor(crop[0] / share), math.floor(crop[1] / share)
        options: Options = {"crop": crop, "crop_offset": "even"}
        match self._cfg.get("crop_mode") or _MODE:
            case "squash":
                return options | {"resize": resize, "resize_mode": "squash"}
            case "border":
                fill = tuple(round(255 * value) for value in self._mean())
                return options | {"resize": resize, "resize_mode": "letterbox", "fill": fill}
            case "center" if crop[0] == crop[1]:
                return options | {"resize": resize[0], "resize_mode": "crop"}
            case "center":
                raise DataError(f"{self.name}: a crop of {crop[0]}x{crop[1]} is not supported")
            case mode:
                raise DataError(f"{self.name}: unknown crop_mode {mode!r}")

    def _crop_and_share(self, shape: GraphShape) -> tuple[tuple[int, int], float]:
        _, *usual = self._cfg["input_size"]
        crop = shape.size or (int(usual[0]), int(usual[1]))
        share = self._cfg.get("crop_pct") or _CROP_PCT
        # A larger size for tests has a share of its own.
        if list(crop) == list((self._cfg.get("test_input_size") or [0])[1:]):
            share = self._cfg.get("test_crop_pct") or share
        return crop, float(share)

    def _mean(self) -> tuple[float, ...]:
        return tuple(map(float, self._cfg.get("mean") or _MEAN))

    def filter(self) -> Options:
        return {"interpolation": self._cfg.get("interpolation") or _FILTER, "antialias": True}

    def channels(self, shape: GraphShape) -> Options:
        options: Options = {"color": "L" if self._cfg["input_size"][0] == 1 else "RGB"}
        return options | ({"layout": "NCHW"} if shape.is_layout_open else {})

    def values(self) -> Options:
        return {"mean": self._mean(), "std": tuple(map(float, self._cfg.get("std") or _STD))}
