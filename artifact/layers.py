"""`layers.json`: the layers that `convoy describe` finds in a graph, for the server's page.

The server has no library that reads graphs, so export writes their description into the artifact.
Artifacts made before that lack the file; `convoy describe NAME --save` adds it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from convoy.artifact.errors import ArtifactError
from convoy.artifact.manifest import Part, Sha256
from convoy.artifact.optional_files import explaining
from convoy.artifact.whole_files import write_beside_graph

LAYERS_FILE = "layers.json"

CONVOLUTION = "conv"
LINEAR = "linear"
WEIGHTED = (CONVOLUTION, LINEAR)
"""Kinds of layers that papers count as the depth of a network."""

Extent = tuple[int, ...]
"""A size along height and width."""


@dataclass(frozen=True, slots=True)
class Window:
    """
    The window of the input that one number of the output is computed from: `(height, width)` each.

    Attributes:
        padding: Rows above and columns to the left of the input.
    """

    kernel: Extent
    stride: Extent
    padding: Extent = (0, 0)
    dilation: Extent = (1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """
    One operation, together with the operations after it that only change values.

    Attributes:
        kind: `input`, `conv`, `linear`, `max pool`, `avg pool`, `global avg pool`, `bn`, `lrn`,
            `add`, `concat` and so on; for any other operation the name of its class or operator.
        inputs: Indices of the layers that it reads; empty for the image.
        output_shape: `(channels, height, width)` or `(features,)`, without the batch.
        window: None if the operation has none.
        parameters: Number of trainable parameters.
        arithmetic: The expression that gives this number; empty if there are none.
        macs: Multiply-accumulates for one image, without those of the bias.
        is_counted: Whether `macs` is known; it is 0 otherwise.
        then: Kinds of the operations that follow in the same row.
        receptive_field_px: Height and width, in pixels, of the part of the image that one number
            of the output depends on, beyond its borders if it is so large; None is the whole image.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    output_shape: tuple[int, ...]
    window: Window | None = None
    parameters: int = 0
    arithmetic: str = ""
    macs: int = 0
    is_counted: bool = True
    then: tuple[str, ...] = ()
    receptive_field_px: Extent | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """
    A network as its layers.

    Attributes:
        layers: The layers in an order in which they can be computed; the image is the first.
        trained_parameters: The manifest's number, which includes the parameters of batch norms
            that were folded into convolutions; None if there is no manifest.
        is_multi_label: Whether an image may be of several classes or none; None if there is no
            manifest. It is no layer, so that `layers.json` does not hold it.
    """

    name: str
    layers: tuple[Layer, ...]
    trained_parameters: int | None = None
    is_multi_label: Annotated[bool | None, Field(exclude=True)] = None

    @property
    def parameters(self) -> int:
        """The number of trainable parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int | None:
        """The multiply-accumulates of convolutions and linear layers for one image; None if some
        layers are not counted."""
        return None if self.not_counted else sum(layer.macs for layer in self.layers)

    @property
    def not_counted(self) -> tuple[str, ...]:
        """The kinds of layers whose multiply-accumulates are not known."""
        return tuple(dict.fromkeys(layer.kind for layer in self.layers if not layer.is_counted))

    @property
    def depth(self) -> int:
        """The convolutions and linear layers on the longest path: 50 for ResNet-50."""
        depths: list[int] = []
        # A layer comes after its inputs, so their depths are known.
        for layer in self.layers:
            before = max((depths[place] for place in layer.inputs), default=0)
            depths.append(before + (layer.kind in WEIGHTED))
        return max(depths)

    def groups(self, layer: Layer) -> int:
        """
        Return the groups into which a convolution divides its channels; 1 for any other layer.

        With as many groups as channels it is a depthwise convolution.
        """
        if layer.kind != CONVOLUTION or layer.window is None or not layer.macs or not layer.inputs:
            return 1
        # Without groups, each number of the output would cost the window in every channel.
        channels = self.layers[layer.inputs[0]].output_shape[0]
        return math.prod((*layer.output_shape, *layer.window.kernel, channels)) // layer.macs

    def count(self, kind: str) -> int:
        """Return the number of layers of *kind*."""
        return sum(layer.kind == kind for layer in self.layers)

    def as_dict(self) -> dict[str, Any]:
        """
        Return the totals, and under `layers` the attributes of every `Layer` by name.

        A layer's `inputs` are indices into that list; its `groups` comes from the method `groups`.
        """
        return {
            "name": self.name,
            "parameters": self.parameters,
            "trained_parameters": self.trained_parameters,
            "multi_label": self.is_multi_label,
            "macs": self.macs,
            "not_counted": list(self.not_counted),
            "convolutions": self.count(CONVOLUTION),
            "linear_layers": self.count(LINEAR),
            "depth": self.depth,
            "layers": [
                dataclasses.asdict(layer) | {"groups": self.groups(layer)} for layer in self.layers
            ],
        }


class SavedLayers(Part):
    """
    The content of `layers.json`.

    Attributes:
        model_sha256: SHA-256 of the graph that is described.
    """

    model_sha256: Sha256
    description: Description

    @model_validator(mode="after")
    def _fit(self) -> Self:
        for index, layer in enumerate(self.description.layers):
            if any(not 0 <= place < index for place in layer.inputs):
                raise ValueError(f"layer {index} reads a layer that does not come before it")
        return self


def read_layers(folder: Path, model_sha256: str) -> Description | None:
    """
    Read the layers of the artifact in *folder*; return None if they were never written.

    Raises:
        ArtifactError: If the file cannot be read, is damaged, or describes another graph than
            *model_sha256*.
    """
    path = folder / LAYERS_FILE
    try:
        with explaining(path):
            saved = SavedLayers.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    # The graph was replaced: its layers would be those of another network.
    if saved.model_sha256 != model_sha256:
        raise ArtifactError(
            f"{path}: describes another graph (SHA-256 {saved.model_sha256}); remove this file, or "
            "write it again with `convoy describe FOLDER --save`"
        )
    return saved.description


def write_layers(folder: Path, description: Description, model_sha256: str) -> None:
    """Write the layers of the artifact in *folder*, atomically."""
    saved = SavedLayers(model_sha256=model_sha256, description=description)
    write_beside_graph(folder, LAYERS_FILE, saved.model_dump_json() + "\n")
