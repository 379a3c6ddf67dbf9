from typing import Any

import pytest
import torch

from convoy.models import ARCHITECTURES, resnet
from convoy.models.resnet_cifar import Shortcut


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20"])
def test_block_without_branch_is_the_identity(name: str) -> None:
    """
    A block whose convolutions give zero passes its input through.
    """
    network: Any = ARCHITECTURES[name].build().eval()
    block = network.layer1[1]
    last = block.bn3 if name == "resnet50" else block.bn2
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    x = torch.rand(2, block.conv1.in_channels, 8, 8)
    assert torch.equal(block(x), x)


def test_plain_block_without_weights_gives_nothing() -> None:
    """
    In a plain network the input goes nowhere but through the convolutions.
    """
    block = resnet.PlainBlock(4, 4).eval()
    torch.nn.init.zeros_(block.bn2.weight)
    assert not block(torch.rand(2, 4, 8, 8)).any()


def test_option_a_shortcut() -> None:
    """
    Every second pixel, with zeros in the channels that are new.
    """
    x = torch.rand(2, 4, 6, 6)
    y = Shortcut(4)(x)
    assert y.shape == (2, 8, 3, 3)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 6:].any()


def test_place_of_the_stride() -> None:
    """
    A bottleneck halves the size in its 3x3 convolution, or, in v1, in its first 1x1.
    """
    for name, strides in (("resnet50", [(1, 1), (2, 2)]), ("resnet50_v1", [(2, 2), (1, 1)])):
        network: Any = ARCHITECTURES[name].build()
        block = network.layer2[0]
        assert [block.conv1.stride, block.conv2.stride] == strides
