"""Sources of public weights: torchvision, timm and files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

import torch
from torch import Tensor
from torchvision import models as torchvision_models
from torchvision.models._api import Weights as TorchvisionEntry

from convoy.artifact.files import file_sha256
from convoy.artifact.manifest import Evaluation, Preprocessing, Weights
from convoy.export.data.labels import read_labels
from convoy.export.errors import WeightsError
from convoy.export.export_settings import ExportSettings
from convoy.export.importing.units import check_units
from convoy.export.recipes import PAPER, SMALL, Recipe
from convoy.export.recipes.changes import at_size, crop_at_size
from convoy.export.weights.checkpoint import read_state
from convoy.export.weights.state_dict import count_classes
from convoy.models import ARCHITECTURES

IMAGENET_VALIDATION = "ImageNet-1K, validation part"
IMAGENET_VALIDATION_IMAGES = 50_000

_TORCHVISION_NAMES = {"alexnet_owt": "alexnet", "googlenet_tv": "googlenet"}
"""Names of torchvision that differ from ours."""

_HALF = (0.5, 0.5, 0.5)

_TIMM_PUBLISHED = {
    "inception_v4.tf_in1k": (0.80144, 0.94982),
    "inception_resnet_v2.tf_in1k": (0.80434, 0.95312),
}
"""Top-1 and top-5, from results/results-imagenet.csv of huggingface/pytorch-image-models."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PublicWeights:
    """
    Weights that others trained.

    Attributes:
        state: The state dict.
        source: Their name and origin.
        sha256: Hash of their file; None for timm, whose hub's client reads the file by itself.
        labels: Names of the classes.
        preprocessing: The preprocessing that they were evaluated with.
        mean: Per channel, of pixels in `[0, 1]`.
        std: Per channel, of pixels in `[0, 1]`.
        evaluation: Their published accuracy.
    """

    state: Mapping[str, Tensor]
    source: str
    sha256: str | None
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    mean: tuple[float, ...]
    std: tuple[float, ...]
    evaluation: Evaluation | None

    def record(self) -> Weights:
        """Return their entry in the manifest."""
        return Weights(source=self.source, sha256=self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """
    The user's words on a file of weights, which does not say these things itself.

    Attributes:
        labels: A file with the names of the classes; without it, 1,000 classes are ImageNet's.
        input_px: Side of the images; 0 is that of the network's recipe.
        resize_px: The shorter side before the crop; in the recipe's proportion if it is None.
        mean: Per channel or of all, of pixels in `[0, 1]`; the recipe's if it is None.
        std: The same.
    """

    labels: Path | None = None
    input_px: int = 0
    resize_px: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def file_options(settings: ExportSettings) -> FileOptions:
    """Return what *settings* say of a file of weights."""
    return FileOptions(
        labels=settings.labels,
        input_px=settings.input_px,
        resize_px=settings.resize,
        mean=settings.mean,
        std=settings.std,
    )


def find_weights(
    architecture: str, text: str, options: FileOptions = FileOptions()
) -> PublicWeights:
    """
    Load the weights *text*: `torchvision[:ENTRY]`, `timm[:TAG]`, or a file with a state dict.

    Downloads go to PyTorch's cache, and their hash is verified.

    Raises:
        ExportError: If there are no such weights, they are not available, or *options* do not fit
            them.
    """
    # A source by its name; anything else is a file.
    kind, _, entry = text.partition(":")
    if kind == "torchvision":
        return _at_size(architecture, _torchvision(architecture, entry or "DEFAULT"), options)
    if kind == "timm":
        return _at_size(architecture, _timm(architecture, entry), options)
    return _file(architecture, Path(text), options)


def _at_size(architecture: str, weights: PublicWeights, options: FileOptions) -> PublicWeights:
    """Return *weights* for the user's size, without the accuracy published for another one."""
    side = options.input_px
    if side in (0, weights.preprocessing.height):
        return weights
    _check_side(architecture, side)
    preprocessing = crop_at_size(weights.preprocessing, side)
    return replace(weights, preprocessing=preprocessing, evaluation=None)


def _check_side(architecture: str, side: int) -> None:
    smallest = ARCHITECTURES[architecture].min_px
    if side < smallest:
        raise WeightsError(f"{architecture} takes images of {smallest} x {smallest} pixels or more")


def _torchvision(architecture: str, entry: str) -> PublicWeights:
    weights = _torchvision_entry(architecture, entry)
    if not weights.meta["categories"]:
        raise WeightsError(f"torchvision's {entry} has no classifier")
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, map_location="cpu")
    except Exception as error:  # urllib's, the system's, or a wrong hash
        raise WeightsError(f"cannot download {weights.url}: {error}") from error
    transform: Any = weights.transforms()
    # torchvision's own networks turn their input into this for weights that came from TensorFlow.
    from_tensorflow = architecture in ("googlenet_tv", "inception_v3")
    return PublicWeights(
        state=state,
        source=f"torchvision {weights}, {weights.url}",
        sha256=file_sha256(_downloaded(weights.url)),
        labels=tuple(weights.meta["categories"]),
        preprocessing=_preprocessing(
            transform.resize_size[0], transform.crop_size[0], transform.interpolation.value
        ),
        mean=_HALF if from_tensorflow else tuple(transform.mean),
        std=_HALF if from_tensorflow else tuple(transform.std),
        evaluation=_torchvision_evaluation(weights),
    )


def _downloaded(url: str) -> Path:
    """Return the file in PyTorch's cache that was downloaded from *url*."""
    return Path(torch.hub.get_dir(), "checkpoints", PurePosixPath(urlsplit(url).path).name)


def _torchvision_entry(architecture: str, entry: str) -> TorchvisionEntry:
    name = _TORCHVISION_NAMES.get(architecture, architecture)
    renamed = {theirs: ours for ours, theirs in _TORCHVISION_NAMES.items()}
    # The same name stands for another network there: refuse before the shapes do.
    if architecture in renamed:
        raise WeightsError(
            f"torchvision's {architecture} is another network: export {renamed[architecture]}"
        )
    # Their weights would load, as shapes agree, and answer worse.
    if architecture.endswith("_v1"):
        raise WeightsError(
            f"torchvision's weights are for the stride on the 3x3: export {architecture[:-3]}"
        )
    try:
        entries = torchvision_models.get_model_weights(name)
    except ValueError:
        raise WeightsError(f"torchvision has no weights for {architecture}") from None
    try:
        return entries[entry]
    except KeyError:
        known = ", ".join(member.name for member in entries)
        raise WeightsError(
            f"torchvision has no weights {entry!r} for {architecture}: expected one of {known}"
        ) from None


def _torchvision_evaluation(weights: TorchvisionEntry) -> Evaluation | None:
    metrics = weights.meta["_metrics"].get("ImageNet-1K", {})
    top1, top5 = metrics.get("acc@1", math.nan), metrics.get("acc@5", math.nan)
    # Some entries were published without an accuracy.
    if math.isnan(top1) or math.isnan(top5):
        return None
    return _published(top1 / 100, top5 / 100, "torchvision", weights.meta["recipe"])


def _timm(architecture: str, tag: str) -> PublicWeights:
    try:
        import timm
    except ModuleNotFoundError:
        raise WeightsError(
            "weights of timm need the package timm: in convoy's folder, pip install '.[timm]'"
        ) from None
    name = f"{architecture}.{tag}" if tag else architecture
    known = timm.list_pretrained(f"{architecture}.*")
    if not known:
        raise WeightsError(f"timm has no weights for {architecture}")
    if tag and name not in known:
        raise WeightsError(f"timm has no {name}: expected one of {', '.join(known)}")
    try:
        network = timm.create_model(name, pretrained=True)
    except Exception as error:  # of the hub's client, of many kinds
        raise WeightsError(f"cannot download timm's {name}: {error}") from error
    found: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    name, size = f"{architecture}.{found['tag']}", found["input_size"][1]
    top = _TIMM_PUBLISHED.get(name)
    results = "results/results-imagenet.csv of huggingface/pytorch-image-models"
    return PublicWeights(
        state=network.state_dict(),
        source=f"timm {name}, https://huggingface.co/{found['hf_hub_id']}",
        sha256=None,
        labels=imagenet_labels(),
        preprocessing=_preprocessing(
            math.floor(size / found["crop_pct"]), size, found["interpolation"]
        ),
        mean=tuple(found["mean"]),
        std=tuple(found["std"]),
        evaluation=None if top is None else _published(*top, "timm", results),
    )


def _file(architecture: str, path: Path, options: FileOptions) -> PublicWeights:
    state, place = read_state(architecture, path)
    classes = count_classes(architecture, state, path.name)
    recipe = _prepared(architecture, options)
    return PublicWeights(
        state=state,
        source=f"{path.name}, {place}" if place else path.name,
        sha256=file_sha256(path),
        labels=_labels(classes, options.labels),
        preprocessing=recipe.preprocessing,
        mean=recipe.mean,
        std=recipe.std,
        evaluation=None,
    )


def _prepared(architecture: str, options: FileOptions) -> Recipe:
    """Return the network's recipe with the user's sizes and normalisation."""
    recipe = PAPER.get(architecture, SMALL[architecture])
    side = options.input_px or recipe.preprocessing.height
    _check_side(architecture, side)
    recipe = at_size(recipe, side)
    spec = recipe.preprocessing
    if options.resize_px:
        if options.resize_px < spec.crop_height_px:
            raise WeightsError(
                f"--resize {options.resize_px} is smaller than the crop, {spec.crop_height_px}: "
                "raise it, or lower --input-px"
            )
        spec = spec.model_copy(update={"resize_px": options.resize_px})
    mean = _per_channel("--mean", options.mean, recipe.mean)
    std = _per_channel("--std", options.std, recipe.std)
    prepared = replace(recipe, preprocessing=spec, mean=mean, std=std)
    check_units(prepared)
    return prepared


def _per_channel(
    flag: str, given: tuple[float, ...] | None, usual: tuple[float, ...]
) -> tuple[float, ...]:
    if given is None:
        return usual
    if len(given) not in (1, len(usual)):
        raise WeightsError(
            f"{flag} has {len(given)} numbers, and the images {len(usual)} channels: give one "
            "number, or one per channel"
        )
    return given if len(given) == len(usual) else given * len(usual)


def _labels(classes: int, path: Path | None) -> tuple[str, ...]:
    names = imagenet_labels()
    # Given labels win; 1,000 classes without labels are ImageNet's, all others are numbered.
    if path is not None:
        names = read_labels(path)
    elif classes != len(names):
        names = numbered_labels(classes)
    if len(names) != classes:
        raise WeightsError(f"{path} has {len(names)} labels, and the weights {classes} classes")
    return names


def numbered_labels(classes: int) -> tuple[str, ...]:
    """Return names for classes without any: `class 0`, `class 1` and so on."""
    return tuple(f"class {index}" for index in range(classes))


def imagenet_labels() -> tuple[str, ...]:
    """Return ImageNet-1K's 1,000 classes, in the order of torchvision's and timm's weights."""
    return tuple(torchvision_models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def _preprocessing(
    resize_px: int, crop_px: int, interpolation: Literal["bilinear", "bicubic"]
) -> Preprocessing:
    return Preprocessing(
        color="RGB",
        resize_px=resize_px,
        interpolation=interpolation,
        crop_height_px=crop_px,
        crop_width_px=crop_px,
    )


def _published(top1: float, top5: float, publisher: str, reference: str) -> Evaluation:
    return Evaluation(
        data=IMAGENET_VALIDATION,
        origin="published",
        publisher=publisher,
        reference=reference,
        images=IMAGENET_VALIDATION_IMAGES,
        top1=round(top1, 6),
        top5=round(top5, 6),
    )
