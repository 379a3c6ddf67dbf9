"""The parts of a recipe. Fields are plain data, so that a manifest can keep a recipe."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from convoy.artifact.manifest import Preprocessing


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """
    Random affine augmentation; each value is drawn evenly from `[-value, value]`.

    Attributes:
        rotation_deg: Rotation, in degrees.
        translation: Shift, as a share of half the image's side.
        scale: Change of size, as a share of the size.
        shear_deg: Horizontal shear, in degrees.
    """

    rotation_deg: float
    translation: float
    scale: float
    shear_deg: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoCrop:
    """
    Random crop of a photograph, of the network's input size; mirrored in half of the cases.

    Attributes:
        short_side_px: The shorter side is first resized to a length drawn evenly from here.
        area: Or the crop's share of the image's area is drawn from here, its aspect ratio from
            3/4 to 4/3, and then it is resized (Szegedy et al., arXiv:1409.4842, section 6).
        pad_px: Or the image is padded on each side and a crop of its size is cut out.
        lighting_std: Of the random change of colour along the principal components of ImageNet's
            pixels (Krizhevsky et al., 2012, section 4.1).
        color_jitter: Random change of brightness, contrast and saturation, as a share.
    """

    short_side_px: tuple[int, int] | None = None
    area: tuple[float, float] | None = None
    pad_px: int = 0
    lighting_std: float = 0.0
    color_jitter: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    """
    Stochastic gradient descent with momentum.

    Attributes:
        learning_rate: At the start, or the peak of a schedule that rises first.
        nesterov: Nesterov's momentum instead of the classical one.
        weight_decay: L2 penalty.
        decay_vectors: Whether biases and normalisations decay, too.
    """

    learning_rate: float
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float
    decay_vectors: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RmsProp:
    """RMSProp with momentum: *decay* of the mean of squares, *epsilon* added to its root."""

    learning_rate: float
    decay: float
    epsilon: float
    momentum: float
    weight_decay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OneCycle:
    """
    A schedule that rises to the learning rate in the first 30 % of the steps, then falls to nearly
    nothing (Smith, arXiv:1708.07120).

    Momentum falls from 0.95 to 0.85 meanwhile, and rises again; the optimiser's has no effect.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """A schedule that multiplies the rate by *factor* after each of these training shares."""

    after: tuple[float, ...]
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential:
    """A schedule that multiplies the learning rate by *factor* every *epochs* epochs."""

    factor: float
    epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """
    One way to train one architecture.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per step, of all processes together.
        initialization: The network's own first weights; or He's (arXiv:1502.01852) with zero
            biases; or those with last maps that begin near 1 (ours); or its own with the shifts of
            batch norm at 1, near the linear regime (arXiv:1902.08129); or its own with residual
            branches that begin at zero (arXiv:1706.02677). For networks whose own need more steps
            than a small training has.
        label_smoothing: Share of the target that is spread evenly (arXiv:1512.00567, section 7).
        gradient_clip: Largest norm of the gradient.
        averaging: Decay of the moving average of the weights, which is exported then; after n steps
            at most (1 + n) / (10 + n).
        auxiliary_weight: Of the loss of each auxiliary head.
        balance_classes: Weights for the loss of each image by the inverse frequency of its class,
            or a sampler that draws images of each class equally often; False does neither.
        patience: Epochs without progress on the validation images after which the training ends; 0
            takes all epochs.
        augmentation: Random changes of each training image, anew in each epoch.
        preprocessing: From the bytes of an image to the network's pixels, in use.
        mean: Per channel, of pixels in `[0, 1]`.
        std: Per channel, of pixels in `[0, 1]`.
        source: Origin of the recipe, and the differences from it.
    """

    epochs: int
    batch_size: int
    optimizer: Sgd | RmsProp
    schedule: OneCycle | Steps | Exponential
    initialization: Literal["network", "he", "open_maps", "near_linear", "zero_residual"] = (
        "network"
    )
    label_smoothing: float = 0.0
    gradient_clip: float | None = None
    averaging: float | None = None
    auxiliary_weight: float = 0.3
    balance_classes: Literal[False, "weights", "sampler"] = False
    patience: int = 0
    augmentation: Affine | PhotoCrop
    preprocessing: Preprocessing
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


def record(recipe: Recipe) -> dict[str, Any]:
    """
    Return *recipe* as plain JSON, for a manifest.

    Preprocessing and normalisation are left out: a manifest has fields of their own for them.
    """
    elsewhere = ("preprocessing", "mean", "std")
    names = [field.name for field in fields(recipe) if field.name not in elsewhere]
    plain: dict[str, Any] = json.loads(
        json.dumps({name: getattr(recipe, name) for name in names}, default=_record_part)
    )
    return plain


def _record_part(part: Affine | PhotoCrop | Sgd | RmsProp) -> dict[str, Any]:
    return {"kind": type(part).__name__, **asdict(part)}
