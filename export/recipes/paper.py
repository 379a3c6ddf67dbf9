"""The recipes of the papers, for photographs: ImageNet, or folders like it; for CIFAR-10 those of
the networks made for it.

Where a paper divides the learning rate by ten "when the error stops improving", the epochs are
fixed here: at a third, two thirds and eight ninths of the training. Validation images stay what
they are for, and a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from convoy.artifact.manifest import Preprocessing
from convoy.export.recipes.recipe import Exponential, PhotoCrop, Recipe, RmsProp, Sgd, Steps

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's training pixels, R, G, B, as in torchvision's weights."""

CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_STD = (0.2470, 0.2435, 0.2616)
"""Mean and deviation of the pixels of CIFAR-10's 50,000 training images."""


def centre_crop(resize_px: int, crop_px: int) -> Preprocessing:
    """Return the central crop for which papers report single-crop accuracy."""
    return Preprocessing(
        color="RGB", resize_px=resize_px, crop_height_px=crop_px, crop_width_px=crop_px
    )


_ALEXNET = Recipe(
    epochs=90,
    batch_size=128,
    optimizer=Sgd(learning_rate=0.01, weight_decay=5e-4),
    schedule=Steps(after=(1 / 3, 2 / 3, 8 / 9), factor=0.1),
    augmentation=PhotoCrop(short_side_px=(256, 256), lighting_std=0.1),
    preprocessing=centre_crop(256, 227),
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    source="Krizhevsky et al., 2012, sections 4.1 and 5: batch 128, SGD with momentum 0.9, "
    "dropout, random crops, mirrors and lighting, about 90 cycles",
)

_ALEXNET_OWT = replace(
    _ALEXNET,
    preprocessing=centre_crop(256, 224),
    source="arXiv:1404.5997, section 4.1, which keeps the recipe of Krizhevsky et al., 2012",
)

_VGG = Recipe(
    epochs=74,
    batch_size=256,
    optimizer=Sgd(learning_rate=0.01, weight_decay=5e-4),
    schedule=Steps(after=(1 / 3, 2 / 3, 8 / 9), factor=0.1),
    augmentation=PhotoCrop(short_side_px=(256, 512), lighting_std=0.1),
    preprocessing=centre_crop(256, 224),
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    source="arXiv:1409.1556, section 3.1, with scale jittering: batch 256, SGD with momentum 0.9, "
    "dropout, 74 epochs",
)

_NIN = replace(
    _ALEXNET,
    # Without batch norm the rate of Caffe's solver (0.1) needs its tuned first weights.
    optimizer=Sgd(learning_rate=0.01, weight_decay=5e-4),
    preprocessing=centre_crop(256, 224),
    source="arXiv:1312.4400, section 4: batch 128, momentum, dropout, the rate divided by ten; "
    "epochs and augmentation are those of Krizhevsky et al., 2012, whose code the authors used",
)

_GOOGLENET = Recipe(
    epochs=250,
    batch_size=256,
    optimizer=Sgd(learning_rate=0.01, weight_decay=2e-4),
    schedule=Exponential(factor=0.96, epochs=8),
    averaging=0.9999,
    auxiliary_weight=0.3,
    augmentation=PhotoCrop(area=(0.08, 1.0), color_jitter=0.4),
    preprocessing=centre_crop(256, 224),
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    source="arXiv:1409.4842, sections 5 and 6: momentum 0.9, 4 % less every 8 epochs, averaged "
    "weights, auxiliary losses at 0.3, crops of 8 to 100 %; batch, rate, decay and epochs, which "
    "it does not tell, are those of Caffe's reimplementation, with a batch of 256",
)

_RESNET = Recipe(
    epochs=120,
    batch_size=256,
    optimizer=Sgd(learning_rate=0.1, weight_decay=1e-4),
    schedule=Steps(after=(1 / 4, 1 / 2, 3 / 4), factor=0.1),
    augmentation=PhotoCrop(short_side_px=(256, 480), lighting_std=0.1),
    preprocessing=centre_crop(256, 224),
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    source="arXiv:1512.03385, section 3.4: batch 256, SGD with momentum 0.9, rate 0.1, decay 1e-4, "
    "600,000 steps, shorter side 256 to 480",
)

_RESNET_CIFAR = Recipe(
    epochs=164,
    batch_size=128,
    optimizer=Sgd(learning_rate=0.1, weight_decay=1e-4),
    schedule=Steps(after=(1 / 2, 3 / 4), factor=0.1),
    augmentation=PhotoCrop(pad_px=4),
    preprocessing=centre_crop(32, 32),
    mean=CIFAR_MEAN,
    std=CIFAR_STD,
    source="arXiv:1512.03385, section 4.2: batch 128, rate 0.1 divided by ten after 32,000 and "
    "48,000 of 64,000 steps, padding by 4, mirrors",
)

_NIN_CIFAR = replace(
    _RESNET_CIFAR,
    optimizer=Sgd(learning_rate=0.01, weight_decay=1e-4),
    source="arXiv:1312.4400, section 4.2: batch 128, momentum, dropout, shifts and mirrors; rate "
    "and steps are those of arXiv:1512.03385, section 4.2, at a tenth, as there is no batch norm",
)

_INCEPTION = Recipe(
    epochs=100,
    batch_size=256,
    optimizer=RmsProp(learning_rate=0.045, decay=0.9, epsilon=1.0, momentum=0.9, weight_decay=4e-5),
    schedule=Exponential(factor=0.94, epochs=2),
    label_smoothing=0.1,
    gradient_clip=2.0,
    averaging=0.9999,
    auxiliary_weight=0.4,
    augmentation=PhotoCrop(area=(0.08, 1.0), color_jitter=0.4),
    preprocessing=centre_crop(342, 299),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    source="arXiv:1512.00567, section 8: RMSProp with decay 0.9 and epsilon 1, rate 0.045, 6 % "
    "less every 2 epochs, gradients clipped at 2, label smoothing 0.1, averaged weights, 100 "
    "epochs; decay, the auxiliary loss's weight and momentum are TensorFlow-Slim's; a batch of "
    "256 for 50 replicas of 32",
)

_INCEPTION_V4 = replace(
    _INCEPTION,
    source="arXiv:1602.07261, section 4: RMSProp with decay 0.9 and epsilon 1, rate 0.045, 6 % "
    "less every 2 epochs; the rest as arXiv:1512.00567, section 8",
)

PAPER: Mapping[str, Recipe] = MappingProxyType(
    {
        "alexnet": _ALEXNET,
        "alexnet_owt": _ALEXNET_OWT,
        "bn_alexnet": _ALEXNET_OWT,
        **dict.fromkeys(
            [f"vgg{depth}{suffix}" for depth in (11, 13, 16, 19) for suffix in ("", "_bn")], _VGG
        ),
        "nin": _NIN,
        "bn_nin": _NIN,
        "nin_cifar": _NIN_CIFAR,
        **dict.fromkeys(["googlenet", "googlenet_naive", "googlenet_tv"], _GOOGLENET),
        **dict.fromkeys(["resnet18", "resnet34", "plain18", "plain34"], _RESNET),
        **dict.fromkeys([f"resnet{d}{v}" for d in (50, 101, 152) for v in ("", "_v1")], _RESNET),
        **dict.fromkeys(["resnet20", "resnet56", "resnet110", "plain20", "plain56"], _RESNET_CIFAR),
        "inception_v3": _INCEPTION,
        "inception_v4": _INCEPTION_V4,
        "inception_resnet_v2": _INCEPTION_V4,
    }
)
"""The recipe of each architecture's paper, by its name in `convoy.models.ARCHITECTURES`."""
