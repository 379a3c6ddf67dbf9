"""How each architecture is trained: frozen data, every number with its unit and source.

A recipe is chosen on validation images only (`convoy export NAME --validate-only`), never on test
images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from artifact.manifest import Preprocessing


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
class Recipe:
    """
    One way to train one architecture.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per step.
        learning_rate: Peak of the one-cycle schedule (Smith, arXiv:1708.07120).
        momentum: Of SGD with Nesterov's momentum.
        weight_decay: L2 penalty on weights; none on biases.
        augmentation: What is done to each training image, anew in each epoch.
        preprocessing: From the bytes of an image to the network's pixels.
        mean: Per channel, of pixels in `[0, 1]`.
        std: Per channel, of pixels in `[0, 1]`.
        source: Where the recipe comes from.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    augmentation: Affine
    preprocessing: Preprocessing
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "lenet5": Recipe(
            epochs=30,
            batch_size=64,
            learning_rate=0.1,
            momentum=0.9,
            weight_decay=5e-4,
            augmentation=Affine(rotation_deg=10, translation=0.1, scale=0.1, shear_deg=5),
            # A 28x28 character centred in a 32x32 field, as in section II.B of the paper.
            preprocessing=Preprocessing(
                color="L", resize_px=28, crop_height_px=28, crop_width_px=28, pad_px=2
            ),
            # Of MNIST's 60,000 training images at 28x28.
            mean=(0.1307,),
            std=(0.3081,),
            source="ours: chosen on 500 validation digits among nine candidates, three seeds each; "
            "the paper trains on affine distortions, too",
        ),
    }
)
"""The recipe of each architecture, by its name in `models.ARCHITECTURES`."""
