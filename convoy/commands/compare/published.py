"""Published accuracies of the architectures on ImageNet: one central crop, 50,000 images.

They are of weights and images that are not here, and never mixed with accuracies measured here.
Each number names its source, as harnesses differ: the same weights lost 2.5 points from Caffe's
(bvlc_alexnet: 57.1) to Zagoruyko's (54.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, Field

IMAGES = 50_000
"""The images of ImageNet's validation set, on which all of these were measured."""


class Published(BaseModel):
    """
    A published accuracy, and the network that has it.

    Attributes:
        top1: The share of images that were classified correctly.
        top5: The share of images whose class is among the five most probable; None if it was not
            published.
        source: The author of the measurement.
        input_px: The side of the images.
        parameters: The parameter count in inference, with 1,000 classes.
        macs: The multiply-accumulates of convolutions and linear layers for one image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    top1: float = Field(ge=0, le=1)
    top5: float | None = Field(ge=0, le=1)
    source: str
    input_px: int
    parameters: int
    macs: int


_TORCHVISION = "torchvision 0.29, IMAGENET1K_V1"
_ZAGORUYKO = "szagoruyko/imagenet-validation.torch, which Canziani et al. used"
_BVLC_ALEXNET = f"{_ZAGORUYKO}: bvlc_alexnet, in two groups"
_BN_NIN = "szagoruyko, gist 0f5b4c5e2d2b18472854"
_NIN = "Caffe's model zoo: mavenlin, gist d802a5849de39225bcc6"
_BVLC_GOOGLENET = "Caffe's model zoo: bvlc_googlenet"
_MSRA = "KaimingHe/deep-residual-networks"
_TIMM = "timm, results-imagenet.csv: tf_in1k"

# Name, top-1 and top-5 in per cent, source, input, parameters, MACs.
_ROWS = (
    ("alexnet", 54.61, None, _BVLC_ALEXNET, 227, 60_965_224, 724_406_816),
    ("alexnet_owt", 56.522, 79.066, _TORCHVISION, 224, 61_100_840, 714_188_480),
    ("bn_alexnet", 56.60, None, _ZAGORUYKO, 224, 61_119_528, 714_188_480),
    ("vgg11", 69.020, 88.628, _TORCHVISION, 224, 132_863_336, 7_609_090_048),
    ("vgg13", 69.928, 89.246, _TORCHVISION, 224, 133_047_848, 11_308_466_176),
    ("vgg16", 71.592, 90.382, _TORCHVISION, 224, 138_357_544, 15_470_264_320),
    ("vgg19", 72.376, 90.876, _TORCHVISION, 224, 143_667_240, 19_632_062_464),
    ("vgg11_bn", 70.370, 89.810, _TORCHVISION, 224, 132_868_840, 7_609_090_048),
    ("vgg13_bn", 71.586, 90.374, _TORCHVISION, 224, 133_053_736, 11_308_466_176),
    ("vgg16_bn", 73.360, 91.516, _TORCHVISION, 224, 138_365_992, 15_470_264_320),
    ("vgg19_bn", 74.218, 91.842, _TORCHVISION, 224, 143_678_248, 19_632_062_464),
    ("nin", 59.36, None, _NIN, 224, 7_595_176, 1_100_188_800),
    ("bn_nin", 62.6, None, _BN_NIN, 224, 7_605_688, 1_100_188_800),
    ("googlenet", 68.7, 88.9, _BVLC_GOOGLENET, 224, 6_998_552, 1_582_671_872),
    ("googlenet_tv", 69.778, 89.530, _TORCHVISION, 224, 6_624_904, 1_498_376_192),
    ("resnet18", 69.758, 89.078, _TORCHVISION, 224, 11_689_512, 1_814_073_344),
    ("resnet34", 73.314, 91.420, _TORCHVISION, 224, 21_797_672, 3_663_761_408),
    ("resnet50", 76.130, 92.862, _TORCHVISION, 224, 25_557_032, 4_089_184_256),
    ("resnet101", 77.374, 93.546, _TORCHVISION, 224, 44_549_160, 7_801_405_440),
    ("resnet152", 78.312, 94.046, _TORCHVISION, 224, 60_192_808, 11_513_626_624),
    ("resnet50_v1", 75.3, 92.2, _MSRA, 224, 25_557_032, 3_857_973_248),
    ("resnet101_v1", 76.4, 92.9, _MSRA, 224, 44_549_160, 7_570_194_432),
    ("resnet152_v1", 77.0, 93.3, _MSRA, 224, 60_192_808, 11_282_415_616),
    ("inception_v3", 77.294, 93.450, _TORCHVISION, 299, 23_834_568, 5_713_216_096),
    ("inception_v4", 80.144, 94.982, _TIMM, 299, 42_679_816, 12_253_974_624),
    ("inception_resnet_v2", 80.434, 95.312, _TIMM, 299, 55_843_464, 13_155_794_016),
)

PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        name: Published(
            top1=round(top1 / 100, 5),
            top5=None if top5 is None else round(top5 / 100, 5),
            source=source,
            input_px=input_px,
            parameters=parameters,
            macs=macs,
        )
        for name, top1, top5, source, input_px, parameters, macs in _ROWS
    }
)
"""Accuracies by architecture. For an architecture that is missing, none for one crop was found."""
