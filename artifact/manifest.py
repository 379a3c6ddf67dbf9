"""The manifest: everything a server must know of a model that its graph does not say.

One frozen pydantic model, written as `manifest.json` beside `model.onnx`. Unknown fields are
refused, so that a manifest of a newer schema is never half understood; older ones are upgraded when
they are read (`artifact/schema.py`). The manifest of a published version never changes: whatever is
learnt later, such as a tuning, lies in a file of its own beside it.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MODEL_NAME = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
ModelName = Annotated[str, Field(pattern=MODEL_NAME)]
"""Name of a model: also a folder's name, a metric's label and a health check's service."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Part(BaseModel):
    """What is stored as JSON: never changed, and without fields that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(Part):
    """
    How the bytes of an image become the pixels that the network sees, in this order: decode,
    convert to `color`, resize the shorter side to `resize_px`, crop the centre, pad.

    Attributes:
        color: Channel order: `L` is grey (ITU-R 601 luma), one channel.
        resize_px: Length of the shorter side after resizing; no resizing if it has it already.
        interpolation: Pillow's filter of that name; always antialiased.
        crop_height_px: Height of the centre crop; at most `resize_px`.
        crop_width_px: Width of the centre crop; at most `resize_px`.
        pad_px: Black pixels added on each side after the crop.
    """

    color: Literal["L", "RGB", "BGR"]
    resize_px: int = Field(ge=1, le=4096)
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"
    antialias: Literal[True] = True
    crop_height_px: int = Field(ge=1)
    crop_width_px: int = Field(ge=1)
    pad_px: int = Field(0, ge=0, le=1024)

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if max(self.crop_height_px, self.crop_width_px) > self.resize_px:
            raise ValueError("the crop must not be larger than resize_px")
        return self

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return 1 if self.color == "L" else 3

    @property
    def height(self) -> int:
        """Height of the result, in pixels."""
        return self.crop_height_px + 2 * self.pad_px

    @property
    def width(self) -> int:
        """Width of the result, in pixels."""
        return self.crop_width_px + 2 * self.pad_px


class Normalization(Part):
    """
    `(pixel / 255 - mean) / std`, per channel.

    Attributes:
        where: `graph` if the network's graph does it, `server` if the server must.
    """

    mean: tuple[float, ...] = Field(min_length=1, max_length=3)
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1, max_length=3)
    where: Literal["graph", "server"]


class InputTensor(Part):
    """The graph's one input: a batch of images, its first dimension variable."""

    name: str
    dtype: Literal["uint8", "float32", "float16"]
    layout: Literal["NHWC", "NCHW"]
    channels: Literal[1, 3]
    height: int = Field(ge=1)
    width: int = Field(ge=1)

    @property
    def item_shape(self) -> tuple[int, int, int]:
        """Shape of one image, in the order of `layout`."""
        if self.layout == "NHWC":
            return self.height, self.width, self.channels
        return self.channels, self.height, self.width


class OutputTensor(Part):
    """
    One output of the graph; its first dimension is the batch.

    Attributes:
        kind: What it holds for each class, or `other` if it is no score of the classes.
        shape: Shape of one item, -1 where it varies; None is `[classes]`. Scores have one value
            per class, whatever ones follow: `[1000, 1, 1]` is a shape of 1000 classes.
    """

    name: str
    kind: Literal["logits", "probabilities", "other"]
    dtype: Literal["float32", "float16", "float64", "int64", "int32", "uint8", "bool"] = "float32"
    shape: tuple[Annotated[int, Field(ge=-1)], ...] | None = None


class Training(Part):
    """
    What the weights were made from.

    Attributes:
        data: Name of the data set.
        data_source: Where its images come from.
        recipe: The recipe as it was.
        device: What computed it, and in which type where that was not float32: `cpu`, or
            `NVIDIA H100 80GB HBM3, bfloat16`.
    """

    data: str
    data_source: str
    images: int = Field(ge=1)
    seed: int
    recipe: dict[str, Any]
    device: str = "cpu"


class Weights(Part):
    """
    Weights that others trained, which the artifact has or its training began with.

    Attributes:
        source: What they are and where they come from.
        sha256: Of their file, where there is one.
    """

    source: str
    sha256: Sha256 | None = None


class Evaluation(Part):
    """
    The accuracy on images that no choice was made on, as shares in `[0, 1]`.

    Attributes:
        data: Name of the data set, and of its part.
        origin: `measured` by convoy on this very graph, or `published` by somebody else.
        publisher: The one who published it; None if it was measured.
        reference: The place where it was published, such as an address; None if it was measured.
        images: Number of images behind it.
        top5: None if there are no more than five classes.
    """

    data: str
    origin: Literal["measured", "published"]
    publisher: str | None = None
    reference: str | None = None
    images: int = Field(ge=1)
    top1: float = Field(ge=0, le=1)
    top5: float | None = Field(None, ge=0, le=1)

    @model_validator(mode="after")
    def _published_by_somebody(self) -> Self:
        if (self.origin == "published") != (self.publisher is not None):
            raise ValueError("a published accuracy, and no other, has a publisher")
        return self

    @property
    def attribution(self) -> str:
        """The origin in words, such as `published by torchvision: https://...`."""
        if self.publisher is None:
            return self.origin
        return ": ".join(filter(None, (f"published by {self.publisher}", self.reference)))


class Memory(Part):
    """
    What ONNX Runtime's CPU allocator used, measured once in a session of its own.

    Attributes:
        batch_size: Images in the batch that was run.
        weights_bytes: Sum of the graph's initialisers.
        arena_peak_bytes: Most memory in use during the run, weights excluded.
    """

    batch_size: int = Field(ge=1)
    weights_bytes: int = Field(ge=0)
    arena_peak_bytes: int = Field(ge=0)


class Manifest(Part):
    """
    Describes one version of one model.

    Attributes:
        source: The paper of the architecture, or where an imported graph comes from.
        labels: Names of the classes, in the order of the output.
        macs: Multiply-accumulates of convolutions and linear layers for one image.
        golden_tolerance: Largest difference from the golden logits, as a share of their range.
        tools: Versions of the programs that made the artifact.
    """

    schema_version: Literal[2] = 2
    name: ModelName
    version: int = Field(ge=1)
    architecture: str
    source: str
    labels: tuple[str, ...] = Field(min_length=2)
    input: InputTensor
    outputs: tuple[OutputTensor, ...] = Field(min_length=1)
    preprocessing: Preprocessing
    normalization: Normalization
    max_batch_size: int = Field(32, ge=1, le=1024)
    parameter_count: int = Field(ge=0)
    macs: int = Field(ge=0)
    precision: Literal["float32", "float16", "int8"]
    opset: int
    training: Training | None = None
    weights: Weights | None = None
    evaluations: tuple[Evaluation, ...] = ()
    memory: Memory | None = None
    golden_tolerance: float = Field(gt=0, lt=1)
    model_sha256: Sha256
    golden_sha256: Sha256
    tools: dict[str, str]
    created_at: datetime

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        pixels, tensor = self.preprocessing, self.input
        if (pixels.height, pixels.width, pixels.channels) != (
            tensor.height,
            tensor.width,
            tensor.channels,
        ):
            raise ValueError("preprocessing does not make the input's height, width and channels")
        if len(self.normalization.mean) != tensor.channels:
            raise ValueError("normalization.mean must have one number per channel")
        if len(self.normalization.std) != tensor.channels:
            raise ValueError("normalization.std must have one number per channel")
        if tensor.dtype == "uint8" and self.normalization.where == "server":
            raise ValueError("a uint8 input cannot be normalised by the server")
        scores = [output for output in self.outputs if output.kind != "other"]
        if not scores:
            raise ValueError("one output must be logits or probabilities")
        for output in scores:
            if not output.dtype.startswith("float"):
                raise ValueError(f"output {output.name} holds scores, so it must be of floats")
            if -1 in (shape := self.item_shape(output)) or math.prod(shape) != len(self.labels):
                raise ValueError(f"output {output.name} must have one value for each label")
        return self

    def output(self, kind: Literal["logits", "probabilities"]) -> OutputTensor | None:
        """Return the first output of this *kind*, if there is one."""
        return next((output for output in self.outputs if output.kind == kind), None)

    @property
    def scores(self) -> OutputTensor:
        """The output that the golden answers are about: logits, or probabilities without them."""
        scores = self.output("logits") or self.output("probabilities")
        assert scores is not None  # proven by the validator
        return scores

    def item_shape(self, output: OutputTensor) -> tuple[int, ...]:
        """Shape of one item of *output*, -1 where it varies."""
        return (len(self.labels),) if output.shape is None else output.shape


def split_sources(evaluations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Upgrade evaluations of a manifest's schema version 1, which told their origin in a text."""
    return [_split_source(**evaluation) for evaluation in evaluations]


def _split_source(source: str, **others: Any) -> dict[str, Any]:
    if source == "measured":
        return {"origin": "measured"} | others
    publisher, _, reference = source.removeprefix("published by ").partition(": ")
    return {"origin": "published", "publisher": publisher, "reference": reference or None} | others


def _from_version_1(fields: dict[str, Any]) -> dict[str, Any]:
    """Evaluations told their origin in a text; the tolerance could be left out."""
    evaluations = split_sources(fields.get("evaluations", []))
    return {"golden_tolerance": 1e-4} | fields | {"evaluations": evaluations}


MANIFEST_STEPS = (_from_version_1,)
"""Upgrade a manifest's fields from version 1 on; see `artifact/schema.py`."""
