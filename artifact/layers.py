"""`layers.json`: what `convoy describe` finds in a graph, so that whoever lacks onnx can show it.

A file of the artifact that may be missing: those made before there was one have none until
`convoy describe NAME --save`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from convoy.artifact.errors import ArtifactError
from convoy.artifact.manifest import Part, Sha256

LAYERS_FILE = "layers.json"

CONVOLUTION = "conv"
LINEAR = "linear"
WEIGHTED = (CONVOLUTION, LINEAR)
"""Kinds of layers that papers count."""

Extent = tuple[int, ...]
"""Along height and width."""


@dataclass(frozen=True, slots=True)
class Window:
    """
    What one number of the output is computed from; height and width each.

    Attributes:
        padding: On the upper and the left side.
    """

    kernel: Extent
    stride: Extent
    padding: Extent = (0, 0)
    dilation: Extent = (1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """
    One operation, with those after it that only change the values.

    Attributes:
        kind: `input`, `conv`, `linear`, `max pool`, `avg pool`, `global avg pool`, `bn`, `lrn`,
            `add`, `concat` and so on; of anything else the name of its class or operator.
        inputs: Places of the layers that it reads; empty for the image.
        output_shape: Channels, height, width, or the number of features; without the batch.
        window: None where there is none.
        parameters: Numbers that training fits.
        arithmetic: An expression that gives them; empty if there are none.
        macs: Multiply-accumulates for one image; bias is left out.
        then: Kinds of the operations that follow in the same row.
        receptive_field_px: Height and width, in pixels, of what one number of the output sees of
            the image, over its borders if it is so large; None is all of it.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    output_shape: tuple[int, ...]
    window: Window | None = None
    parameters: int = 0
    arithmetic: str = ""
    macs: int = 0
    then: tuple[str, ...] = ()
    receptive_field_px: Extent | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """
    A network as its layers.

    Attributes:
        layers: In an order in which they can be computed; the image is the first.
        trained_parameters: What the artifact's manifest says: batch norms that were folded into
            convolutions count in it. None where there is no manifest.
    """

    name: str
    layers: tuple[Layer, ...]
    trained_parameters: int | None = None

    @property
    def parameters(self) -> int:
        """Numbers that training fits."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layers for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def depth(self) -> int:
        """Convolutions and linear layers on the longest path: the 50 of ResNet-50."""
        depths: list[int] = []
        for layer in self.layers:
            before = max((depths[place] for place in layer.inputs), default=0)
            depths.append(before + (layer.kind in WEIGHTED))
        return max(depths)

    def count(self, kind: str) -> int:
        """Layers of *kind*."""
        return sum(layer.kind == kind for layer in self.layers)

    def as_dict(self) -> dict[str, Any]:
        """
        The totals, and under `layers` the attributes of every `Layer` by their names.

        A layer's `inputs` are places in that list.
        """
        return {
            "name": self.name,
            "parameters": self.parameters,
            "trained_parameters": self.trained_parameters,
            "macs": self.macs,
            "convolutions": self.count(CONVOLUTION),
            "linear_layers": self.count(LINEAR),
            "depth": self.depth,
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
        }


class SavedLayers(Part):
    """
    The content of the file.

    Attributes:
        model_sha256: Of the graph that was described.
    """

    model_sha256: Sha256
    description: Description


def read_layers(folder: Path, model_sha256: str) -> Description | None:
    """
    Read the layers of the artifact in *folder*; None if they were never written.

    Raises:
        ArtifactError: If the file is damaged, or of another graph than *model_sha256*.
    """
    path = folder / LAYERS_FILE
    try:
        saved = SavedLayers.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"{path}: damaged: {error}") from error
    if saved.model_sha256 != model_sha256:
        raise ArtifactError(f"{path}: describes another graph, of SHA-256 {saved.model_sha256}")
    return saved.description


def write_layers(folder: Path, description: Description, model_sha256: str) -> None:
    """Write the layers of the artifact in *folder*, whole or not at all."""
    saved = SavedLayers(model_sha256=model_sha256, description=description)
    hidden = folder.parent / f".{folder.name}-{LAYERS_FILE}"
    hidden.write_text(saved.model_dump_json() + "\n", encoding="utf-8")
    hidden.replace(folder / LAYERS_FILE)
