"""Every network by its name, with what its paper made it for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from torch import nn

from convoy.models import (
    alexnet,
    alexnet_owt,
    googlenet,
    googlenet_tv,
    inception_resnet_v2,
    inception_v3,
    inception_v4,
    lenet,
    nin,
    resnet,
    resnet_cifar,
    vgg,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """
    One network of `ARCHITECTURES`.

    Attributes:
        build: Makes the network with fresh weights; takes `num_classes`.
        input_px: Side of the square input that it was designed for, in pixels.
        min_px: Side of the smallest square input that leaves each of its layers something to see.
        channels: Colour channels of the input: 1 (grey) or 3 (RGB).
        source: The paper.
    """

    build: Callable[..., nn.Module]
    input_px: int
    min_px: int
    channels: int = 3
    source: str


@runtime_checkable
class HasAuxiliary(Protocol):
    """
    A network with heads that exist for training only.

    In training mode it gives a tuple: its logits and those of each such head.
    """

    def drop_auxiliary(self) -> None:
        """Remove these heads for good."""


def drop_auxiliary(network: nn.Module) -> None:
    """Leave of *network* what it needs to be used."""
    if isinstance(network, HasAuxiliary):
        network.drop_auxiliary()


_LENET = partial(
    Architecture,
    source="LeCun, Bottou, Bengio, Haffner. Gradient-Based Learning Applied to Document "
    "Recognition. Proceedings of the IEEE 86(11), 1998",
)
_ALEXNET = partial(
    Architecture,
    source="Krizhevsky, Sutskever, Hinton. ImageNet Classification with Deep Convolutional "
    "Neural Networks. NIPS 2012",
)
_ONE_WEIRD_TRICK = partial(
    Architecture,
    source="Krizhevsky. One weird trick for parallelizing convolutional neural networks. "
    "arXiv:1404.5997, 2014",
)
_VGG = partial(
    Architecture,
    source="Simonyan, Zisserman. Very Deep Convolutional Networks for Large-Scale Image "
    "Recognition. arXiv:1409.1556, 2014",
)
_NIN = partial(Architecture, source="Lin, Chen, Yan. Network In Network. arXiv:1312.4400, 2013")
_GOOGLENET = partial(
    Architecture,
    source="Szegedy et al. Going Deeper with Convolutions. arXiv:1409.4842, 2014",
)
_RESNET = partial(
    Architecture,
    source="He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. "
    "arXiv:1512.03385, 2015",
)
_INCEPTION_V3 = partial(
    Architecture,
    source="Szegedy, Vanhoucke, Ioffe, Shlens, Wojna. Rethinking the Inception Architecture for "
    "Computer Vision. arXiv:1512.00567, 2015",
)
_INCEPTION_V4 = partial(
    Architecture,
    source="Szegedy, Ioffe, Vanhoucke, Alemi. Inception-v4, Inception-ResNet and the Impact of "
    "Residual Connections on Learning. arXiv:1602.07261, 2016",
)


def _v1(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """The same network with the paper's place of the stride."""
    return partial(build, stride_on_1x1=True)


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "lenet5": _LENET(build=lenet.lenet5, input_px=32, min_px=32, channels=1),
        "alexnet": _ALEXNET(build=alexnet.alexnet, input_px=227, min_px=39),
        "alexnet_owt": _ONE_WEIRD_TRICK(build=alexnet_owt.alexnet_owt, input_px=224, min_px=63),
        "bn_alexnet": _ONE_WEIRD_TRICK(build=alexnet_owt.bn_alexnet, input_px=224, min_px=63),
        "vgg11": _VGG(build=vgg.vgg11, input_px=224, min_px=32),
        "vgg13": _VGG(build=vgg.vgg13, input_px=224, min_px=32),
        "vgg16": _VGG(build=vgg.vgg16, input_px=224, min_px=32),
        "vgg19": _VGG(build=vgg.vgg19, input_px=224, min_px=32),
        "vgg11_bn": _VGG(build=vgg.vgg11_bn, input_px=224, min_px=32),
        "vgg13_bn": _VGG(build=vgg.vgg13_bn, input_px=224, min_px=32),
        "vgg16_bn": _VGG(build=vgg.vgg16_bn, input_px=224, min_px=32),
        "vgg19_bn": _VGG(build=vgg.vgg19_bn, input_px=224, min_px=32),
        "nin": _NIN(build=nin.nin, input_px=224, min_px=39),
        "bn_nin": _NIN(build=nin.bn_nin, input_px=224, min_px=39),
        "nin_cifar": _NIN(build=nin.nin_cifar, input_px=32, min_px=4),
        "googlenet": _GOOGLENET(build=googlenet.googlenet, input_px=224, min_px=31),
        "googlenet_naive": _GOOGLENET(build=googlenet.googlenet_naive, input_px=224, min_px=31),
        "googlenet_tv": _GOOGLENET(build=googlenet_tv.googlenet_tv, input_px=224, min_px=15),
        "resnet18": _RESNET(build=resnet.resnet18, input_px=224, min_px=32),
        "resnet34": _RESNET(build=resnet.resnet34, input_px=224, min_px=32),
        "resnet50": _RESNET(build=resnet.resnet50, input_px=224, min_px=32),
        "resnet101": _RESNET(build=resnet.resnet101, input_px=224, min_px=32),
        "resnet152": _RESNET(build=resnet.resnet152, input_px=224, min_px=32),
        "resnet50_v1": _RESNET(build=_v1(resnet.resnet50), input_px=224, min_px=32),
        "resnet101_v1": _RESNET(build=_v1(resnet.resnet101), input_px=224, min_px=32),
        "resnet152_v1": _RESNET(build=_v1(resnet.resnet152), input_px=224, min_px=32),
        "plain18": _RESNET(build=resnet.plain18, input_px=224, min_px=32),
        "plain34": _RESNET(build=resnet.plain34, input_px=224, min_px=32),
        "resnet20": _RESNET(build=resnet_cifar.resnet20, input_px=32, min_px=4),
        "resnet56": _RESNET(build=resnet_cifar.resnet56, input_px=32, min_px=4),
        "resnet110": _RESNET(build=resnet_cifar.resnet110, input_px=32, min_px=4),
        "plain20": _RESNET(build=resnet_cifar.plain20, input_px=32, min_px=4),
        "plain56": _RESNET(build=resnet_cifar.plain56, input_px=32, min_px=4),
        "inception_v3": _INCEPTION_V3(build=inception_v3.inception_v3, input_px=299, min_px=75),
        "inception_v4": _INCEPTION_V4(build=inception_v4.inception_v4, input_px=299, min_px=75),
        "inception_resnet_v2": _INCEPTION_V4(
            build=inception_resnet_v2.inception_resnet_v2, input_px=299, min_px=75
        ),
    }
)
"""Every network that convoy can export, by name."""
