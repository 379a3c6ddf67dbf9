"""The manifest: everything that a server must know of a model and its graph does not state.

One frozen pydantic model, written as `manifest.json` beside `model.onnx`. Unknown fields are
refused, so that a manifest of a newer schema is never half understood; older ones are upgraded when
they are read (`artifact/schema.py`). The manifest of a published version never changes: whatever is
learnt later, such as a tuning, lies in a file of its own beside it.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

MODEL_NAME = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
MODEL_NAME_RULE = (
    "a model's name has up to 64 lower-case letters, digits, '_', '.' and '-', and begins with a "
    "letter or digit"
)
"""`MODEL_NAME` in words."""

ModelName = Annotated[str, Field(pattern=MODEL_NAME)]
"""Name of a model, which is also the name of a folder, a metric's label and a health service."""

Precision = Literal["float32", "float16", "int8"]
"""Type of the weights and of most of the arithmetic."""

Scheme = Literal["u8s8", "u8u8", "s8s8"]
"""Types of 8 bits, signed or unsigned: of activations, then of weights."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Part(BaseModel):
    """An immutable part of a JSON document that refuses unknown fields, NaN and infinity."""

    # JSON has neither NaN nor infinity: serialized for the page or a front, they become null.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    """Refuse NaN and infinity anywhere in *fields*, whose values may have any type."""
    try:
        json.dumps(fields, allow_nan=False)
    except ValueError as error:
        raise ValueError("Numbers should be finite") from error
    return fields


Side = Annotated[int, Field(ge=1, le=4096)]
"""Length of one side of an image, in pixels."""

Fill = tuple[Annotated[int, Field(ge=0, le=255)], ...]
"""A colour: one value per channel."""

DECODED_SHARE = 2
"""Minimum ratio of a side as decoded to the same side after resizing, with `scaled_decoding`: the
results then look the same (`docs/explanation/benchmarks.md`)."""

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


class Preprocessing(Part):
    """
    The steps from the bytes of an image to the pixels of the network's input, in this order:
    decode, convert to `color`, resize, crop the centre, pad.

    Attributes:
        scaled_decoding: Decode a JPEG at 1/2, 1/4 or 1/8 of its size, the smallest at which each
            side is still at least `DECODED_SHARE` times as long as after resizing.
        color: Channel order: `L` is grey (ITU-R 601 luma), one channel.
        resize_px: Length of the shorter side after resizing; or height and width, to which the
            image is squashed, whatever its ratio.
        letterbox: None, or the colour around the image. Then the image keeps its ratio and becomes
            as large as fits into the height and width of `resize_px`.
        interpolation: Pillow's filter of this name.
        antialias: Widen the filter where the image shrinks, as Pillow does. Without it, each pixel
            comes from the four (bicubic: sixteen) nearest ones, as in PyTorch, TensorFlow and
            OpenCV. It does not matter for `nearest`.
        crop_height_px: Height of the centre crop; at most the height after resizing.
        crop_width_px: Width of the centre crop; at most the width after resizing.
        crop_offset: Rounding of an offset that ends in a half: to the `even` number, as torchvision
            rounds, or `down`, as transformers does.
        pad_px: Black pixels added on each side after the crop.
    """

    scaled_decoding: bool = False
    color: Literal["L", "RGB", "BGR"]
    resize_px: Side | tuple[Side, Side]
    letterbox: Fill | None = None
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    crop_height_px: int = Field(ge=1, le=4096)
    crop_width_px: int = Field(ge=1, le=4096)
    crop_offset: Literal["even", "down"] = "even"
    pad_px: int = Field(0, ge=0, le=1024)

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        px = self.resize_px
        height, width = (px, px) if isinstance(px, int) else px
        # What a letterbox leaves empty is filled.
        if self.letterbox is None and (self.crop_height_px > height or self.crop_width_px > width):
            raise ValueError("the crop must not be larger than resize_px")
        return self

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.letterbox is not None and isinstance(self.resize_px, int):
            raise ValueError("a letterbox needs a height and a width in resize_px")
        if self.letterbox is not None and len(self.letterbox) != self.channels:
            raise ValueError("letterbox must have one number per channel")
        if not self.antialias and self.interpolation not in ("nearest", "bilinear", "bicubic"):
            raise ValueError(f"{self.interpolation} needs antialias")
        # Single pixels are picked from the image, so another size has other ones.
        if self.scaled_decoding and not self.averages:
            raise ValueError("scaled_decoding needs antialias and another filter than nearest")
        return self

    @property
    def averages(self) -> bool:
        """True if each pixel of an image that shrinks is an average of all pixels in its place."""
        return self.antialias and self.interpolation != "nearest"

    @property
    def channels(self) -> int:
        """The number of channels: 1 for grey, 3 for colour."""
        return 1 if self.color == "L" else 3

    @property
    def height(self) -> int:
        """The height of the result, in pixels."""
        return self.crop_height_px + 2 * self.pad_px

    @property
    def width(self) -> int:
        """The width of the result, in pixels."""
        return self.crop_width_px + 2 * self.pad_px

    @property
    def description(self) -> str:
        """The steps in words, such as `RGB, shorter side resized to 256 (bilinear), ...`."""
        decoding = "large JPEGs decoded smaller" if self.scaled_decoding else ""
        steps = (decoding, self.color, self._resizing, self._cropping, self._padding)
        return ", ".join(filter(None, steps))

    @property
    def _resizing(self) -> str:
        how = self.interpolation + ("" if self.antialias else ", not antialiased")
        if isinstance(self.resize_px, int):
            return f"shorter side resized to {self.resize_px} ({how})"
        size = "x".join(map(str, self.resize_px))
        if self.letterbox is None:
            return f"squashed to {size} ({how})"
        return f"resized to fit into {size} ({how}), filled with {self.letterbox}"

    @property
    def _cropping(self) -> str:
        crop = (self.crop_height_px, self.crop_width_px)
        # Squashed to the very size, nothing is cut off.
        return "" if crop == self.resize_px else f"cropped to {crop[0]}x{crop[1]}"

    @property
    def _padding(self) -> str:
        return f"padded by {self.pad_px}" if self.pad_px else ""


class Normalization(Part):
    """
    `(pixel / 255 - mean) / std`, per channel.

    Attributes:
        where: `graph` if the graph normalises its input, `server` if the server has to.
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
        """The shape of one image, in the order of `layout`."""
        if self.layout == "NHWC":
            return self.height, self.width, self.channels
        return self.channels, self.height, self.width


class OutputTensor(Part):
    """
    One output of the graph; its first dimension is the batch.

    Attributes:
        kind: The scores of the classes that it holds, or `other` if it holds none. `probabilities`
            are shares of one whole: an image is of one class. `independent` ones are probabilities
            of each class by itself: an image may be of several classes, or of none.
        shape: Shape of one item, -1 for a dimension that varies; None is `[classes]`. Scores have
            one value per class and may have dimensions of 1: `[1000, 1, 1]` is 1000 classes.
    """

    name: str
    kind: Literal["logits", "probabilities", "independent", "other"]
    dtype: Literal["float32", "float16", "float64", "int64", "int32", "uint8", "bool"] = "float32"
    shape: tuple[Annotated[int, Field(ge=-1)], ...] | None = None


class Validation(Part):
    """
    The measurement by which the weights were chosen from those of all epochs.

    Attributes:
        images: Number of validation images.
        loss: Mean cross-entropy on them; None if it was no finite number.
        accuracy: Share of them answered right.
    """

    images: int = Field(ge=1)
    loss: float | None
    accuracy: float = Field(ge=0, le=1)


class Training(Part):
    """
    The training that made the weights.

    Attributes:
        data: Name of the data set.
        data_source: Origin of its images.
        data_sha256: SHA-256 of the content of its three parts; None in manifests of older versions.
        images: Number of images that were trained on.
        epoch: The epoch whose weights these are, from 1; None in manifests of older versions.
        validation: The measurement that chose the epoch; None if all images were trained on.
        recipe: The recipe that was used, with all its numbers.
        device: The processor or GPU, and the type of the arithmetic unless it was float32: `cpu`,
            or `NVIDIA H100 80GB HBM3, bfloat16`.
    """

    data: str
    data_source: str
    data_sha256: Sha256 | None = None
    images: int = Field(ge=1)
    epoch: int | None = Field(None, ge=1)
    validation: Validation | None = None
    seed: int
    recipe: Annotated[dict[str, Any], AfterValidator(_finite)]
    device: str = "cpu"


class Weights(Part):
    """
    Public weights that the artifact contains, or that its training began with.

    Attributes:
        source: Their name and origin.
        sha256: SHA-256 of their file; None if they did not come as one.
    """

    source: str
    sha256: Sha256 | None = None


class Evaluation(Part):
    """
    The accuracy on images that no choice was made on, as shares in `[0, 1]`.

    Attributes:
        data: Name of the data set, and of its part.
        data_sha256: SHA-256 of the images with their classes; None if it is not known.
        origin: `measured` by convoy on this very graph, or `published` by somebody else.
        publisher: The one who published it; None if it was measured.
        reference: The place where it was published, such as an address; None if it was measured.
        images: Number of images behind it.
        top5: None if there are no more than five classes.
    """

    data: str
    data_sha256: Sha256 | None = None
    origin: Literal["measured", "published"]
    publisher: str | None = None
    reference: str | None = None
    images: int = Field(ge=1)
    top1: float = Field(ge=0, le=1)
    top5: float | None = Field(None, ge=0, le=1)

    @model_validator(mode="after")
    def _published_by_somebody(self) -> Self:
        if (self.origin == "published") != (self.publisher is not None):
            raise ValueError(
                "publisher is required for a published accuracy, and not allowed for another one"
            )
        return self

    @property
    def attribution(self) -> str:
        """The origin in words, such as `published by torchvision: https://...`."""
        if self.publisher is None:
            return self.origin
        return ": ".join(filter(None, (f"published by {self.publisher}", self.reference)))


class Calibration(Part):
    """
    The temperature that the graph divides its logits by, so that probabilities are honest.

    Attributes:
        temperature: Above 1, probabilities are less confident than those of `of_version`.
        of_version: The version of the model that the graph was made from. If that version was
            calibrated too, the graph divides by both temperatures.
        data: Name of the data set, and of its part, that the temperature was fitted on.
        images: Number of these images.
    """

    temperature: float = Field(gt=0)
    of_version: int = Field(ge=1)
    data: str
    data_sha256: Sha256
    images: int = Field(ge=1)


class Comparison(Part):
    """
    The answers of a converted graph against those of the float32 graph, on the same images.

    Attributes:
        data: Name of the data set, and of its part.
        same_class: Number of images whose most likely class stays; of independent probabilities,
            all that are above 0.5.
        largest_change: Largest change of any probability, in `[0, 1]`.
        right_before: Number of images that float32 answers right; None if classes are not known.
        right: Number of images that the converted graph answers right, likewise.
    """

    data: str
    images: int = Field(ge=1)
    same_class: int = Field(ge=0)
    largest_change: float = Field(ge=0, le=1)
    right_before: int | None = Field(None, ge=0)
    right: int | None = Field(None, ge=0)

    @property
    def agreement(self) -> float:
        """The percentage of images whose most likely class stays."""
        return 100 * self.same_class / self.images

    @property
    def accuracy_before(self) -> float | None:
        """The top-1 accuracy in float32, in `[0, 1]`; None if classes are not known."""
        return None if self.right_before is None else self.right_before / self.images

    @property
    def accuracy(self) -> float | None:
        """The top-1 accuracy of the converted graph, likewise."""
        return None if self.right is None else self.right / self.images

    @property
    def accuracy_loss(self) -> float | None:
        """The loss in percentage points, negative for a gain; None if classes are not known."""
        if self.right is None or self.right_before is None:
            return None
        # Subtract before dividing: of 1,000 images, 960 and 955 differ by exactly 0.5 points.
        return 100 * (self.right_before - self.right) / self.images


class Quantization(Part):
    """
    The conversion of a float32 graph to 8 bits.

    Attributes:
        source_model: Name of the float32 model; None if its graph was never published.
        source_version: Version of the float32 model, likewise.
        source_sha256: SHA-256 of the float32 graph.
        calibration_data: Name of the images that the ranges of activations were found with.
        calibration_images: Number of these images.
        range_growth: Share of its width that a range owes to the second half of these images, on
            average.
        largest_range_growth: The same of the range that grew most.
        float32_layers: Names of the layers that stayed in float32.
        comparisons: Differences from the float32 graph.
        processor: Name of the processor that computed them.
        processor_features: Its instructions that matter for 8 bits, as Linux names them.
    """

    source_model: ModelName | None
    source_version: Annotated[int, Field(ge=1)] | None
    source_sha256: Sha256
    scheme: Scheme
    calibration_data: str
    calibration_images: int = Field(ge=1)
    range_growth: float = Field(ge=0, le=1)
    largest_range_growth: float = Field(ge=0, le=1)
    float32_layers: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    processor: str
    processor_features: tuple[str, ...] = ()


class Memory(Part):
    """
    The memory that ONNX Runtime's CPU allocator used, measured in a session of its own.

    Attributes:
        batch_size: Images in the batch that was run.
        weights_bytes: Sum of the graph's initialisers.
        arena_peak_bytes: Peak of the memory in use during the run, weights excluded.
    """

    batch_size: int = Field(ge=1)
    weights_bytes: int = Field(ge=0)
    arena_peak_bytes: int = Field(ge=0)


class Manifest(Part):
    """
    The description of one version of one model.

    Attributes:
        source: The paper of the architecture, or the origin of an imported graph.
        labels: Names of the classes, in the order of the output.
        macs: Multiply-accumulates of convolutions and linear layers for one image; None if the
            graph has operators for which they are not known.
        skipped_images: Names of images that could not be decoded, below the folder of the data set;
            they were neither trained nor measured on.
        evaluations: Accuracies that were known when the artifact was made.
        calibration: The temperature of the probabilities; None if it is 1.
        quantization: The conversion of a float32 graph to this one; None of other graphs.
        golden_tolerance: Largest drift from the golden answers, as a share of their range.
        tools: Versions of the programs that made the artifact.
    """

    schema_version: Literal[9] = 9
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
    macs: Annotated[int, Field(ge=0)] | None
    precision: Precision
    opset: int
    training: Training | None = None
    weights: Weights | None = None
    skipped_images: tuple[str, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    calibration: Calibration | None = None
    quantization: Quantization | None = None
    memory: Memory | None = None
    golden_tolerance: float = Field(gt=0, lt=1)
    model_sha256: Sha256
    golden_sha256: Sha256
    tools: dict[str, str]
    created_at: datetime

    @model_validator(mode="after")
    def _preprocessing_makes_the_input(self) -> Self:
        pixels, tensor = self.preprocessing, self.input
        if (pixels.height, pixels.width, pixels.channels) != (
            tensor.height,
            tensor.width,
            tensor.channels,
        ):
            raise ValueError("preprocessing must give the input's height, width and channels")
        if len(self.normalization.mean) != tensor.channels:
            raise ValueError("normalization.mean must have one number per channel")
        if len(self.normalization.std) != tensor.channels:
            raise ValueError("normalization.std must have one number per channel")
        # Normalised pixels are fractions.
        if tensor.dtype == "uint8" and self.normalization.where == "server":
            raise ValueError("a uint8 input cannot be normalised by the server")
        return self

    @model_validator(mode="after")
    def _outputs_have_scores(self) -> Self:
        scores = [output for output in self.outputs if output.kind != "other"]
        if not scores:
            raise ValueError("one output must be logits or probabilities")
        # Golden answers are kept for one output; softmax of logits does not give these.
        if len(scores) > 1 and any(output.kind == "independent" for output in scores):
            raise ValueError("independent probabilities must be the only scores")
        for output in scores:
            if not output.dtype.startswith("float"):
                raise ValueError(f"output {output.name} holds scores, so it must be of floats")
            if -1 in (shape := self.item_shape(output)) or math.prod(shape) != len(self.labels):
                raise ValueError(f"output {output.name} must have one value for each label")
        return self

    def output(
        self, kind: Literal["logits", "probabilities", "independent"]
    ) -> OutputTensor | None:
        """Return the first output of this *kind*, if there is one."""
        for output in self.outputs:
            if output.kind == kind:
                return output
        return None

    @property
    def probabilities(self) -> OutputTensor | None:
        """The output of probabilities, independent or not; None if the graph has logits only."""
        return self.output("probabilities") or self.output("independent")

    @property
    def scores(self) -> OutputTensor:
        """The output that golden answers are kept for: logits, or probabilities without them."""
        scores = self.output("logits") or self.probabilities
        assert scores is not None  # `_outputs_have_scores` has refused every other manifest
        return scores

    @property
    def is_multi_label(self) -> bool:
        """True if the classes are independent: an image may be of several of them, or of none."""
        return self.scores.kind == "independent"

    def item_shape(self, output: OutputTensor) -> tuple[int, ...]:
        """Return the shape of one item of *output*, with -1 for a dimension that varies."""
        return (len(self.labels),) if output.shape is None else output.shape


def split_sources(evaluations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Upgrade evaluations of schema version 1, which stated their origin in a text."""
    return [_split_source(**evaluation) for evaluation in evaluations]


def _split_source(source: str, **others: Any) -> dict[str, Any]:
    # The text was the word `measured`, or `published by PUBLISHER: REFERENCE`, or a bare publisher.
    if source == "measured":
        return {"origin": "measured"} | others
    publisher, _, reference = source.removeprefix("published by ").partition(": ")
    return {"origin": "published", "publisher": publisher, "reference": reference or None} | others


def _from_version_1(fields: dict[str, Any]) -> dict[str, Any]:
    """Upgrade the evaluations, and state the tolerance, which had a default."""
    evaluations = split_sources(fields.get("evaluations", []))
    return {"golden_tolerance": 1e-4} | fields | {"evaluations": evaluations}


def _unchanged(fields: dict[str, Any]) -> dict[str, Any]:
    """Keep all fields: an older manifest means the same in the next version."""
    return fields


MANIFEST_STEPS = (
    _from_version_1,
    _unchanged,  # version 3 adds `independent`, a kind of output
    _unchanged,  # version 4 adds ways to resize and crop; the only ones before are the defaults
    _unchanged,  # version 5 adds `skipped_images`; unreadable images were refused before
    _unchanged,  # version 6 allows `macs` to be unknown
    _unchanged,  # version 7 adds hashes of data, validation and calibration
    _unchanged,  # version 8 adds `quantization`
    _unchanged,  # version 9 adds `scaled_decoding`; JPEGs were decoded in full size before
)
"""Upgrade a manifest's fields from version 1 on; see `artifact/schema.py`."""


def macs_text(macs: int | None) -> str:
    """Return multiply-accumulates for people."""
    return "not counted" if macs is None else f"{macs:,}"
