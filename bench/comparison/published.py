"""What others published of the architectures on ImageNet: one central crop, 50,000 images.

It is about weights and images that are not here, and never mixed with what is measured here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, Field


class Published(BaseModel):
    """
    A figure of someone else's.

    Attributes:
        top1: Share of right answers.
        source: Who measured it.
    """

    model_config = ConfigDict(frozen=True)

    top1: float = Field(ge=0, le=1)
    source: str


_TORCHVISION = "torchvision 0.29, IMAGENET1K_V1"
_ZAGORUYKO = "szagoruyko/imagenet-validation.torch, as in Canziani et al."
_CAFFE = "Caffe's model zoo"
_TIMM = "timm's results-imagenet.csv, tf_in1k"

PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        name: Published(top1=top1, source=source)
        for name, top1, source in (
            ("alexnet", 0.571, f"{_CAFFE}, bvlc_alexnet (two groups)"),
            ("alexnet_owt", 0.56522, _TORCHVISION),
            ("bn_alexnet", 0.5660, _ZAGORUYKO),
            ("vgg11", 0.69020, _TORCHVISION),
            ("vgg13", 0.69928, _TORCHVISION),
            ("vgg16", 0.71592, _TORCHVISION),
            ("vgg19", 0.72376, _TORCHVISION),
            ("vgg11_bn", 0.70370, _TORCHVISION),
            ("vgg13_bn", 0.71586, _TORCHVISION),
            ("vgg16_bn", 0.73360, _TORCHVISION),
            ("vgg19_bn", 0.74218, _TORCHVISION),
            ("nin", 0.5936, _CAFFE),
            ("bn_nin", 0.6262, _ZAGORUYKO),
            ("googlenet", 0.687, f"{_CAFFE}, bvlc_googlenet"),
            ("googlenet_tv", 0.69778, _TORCHVISION),
            ("resnet18", 0.69758, _TORCHVISION),
            ("resnet34", 0.73314, _TORCHVISION),
            ("resnet50", 0.76130, _TORCHVISION),
            ("resnet101", 0.77374, _TORCHVISION),
            ("resnet152", 0.78312, _TORCHVISION),
            ("inception_v3", 0.77294, _TORCHVISION),
            ("inception_v4", 0.80144, _TIMM),
            ("inception_resnet_v2", 0.80434, _TIMM),
        )
    }
)
"""By the architecture's name. Where there is none, nobody published one that could be found."""
