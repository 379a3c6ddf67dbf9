from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from convoy.models.googlenet import (
    WIDTHS,
    Auxiliary,
    Inception,
    NaiveInception,
    googlenet,
    googlenet_naive,
    normalization,
)
from convoy.models.googlenet_tv import googlenet_tv
from tests.harness.counts import count_macs, count_parameters
from tests.unit.models.references import (
    assert_agree,
    assert_close,
    assert_independent,
    assert_learns,
    assert_traceable,
    random_images,
    training_outputs,
)

WITH_HEADS = [googlenet, googlenet_tv]


def torchvision_googlenet() -> nn.Module:
    return torchvision.models.googlenet(init_weights=False, aux_logits=True, transform_input=False)


def test_parameters_of_each_layer() -> None:
    """
    Each layer has the parameters that the arithmetic on table 1 gives.
    """
    with torch.device("meta"):
        network = googlenet()
    counts = {name: count_parameters(layer) for name, layer in network.named_children()}
    assert {name: count for name, count in counts.items() if count > 0} == {
        "conv1": 9_472,
        "conv2": 4_160,
        "conv3": 110_784,
        "inception3a": 163_696,
        "inception3b": 388_736,
        "inception4a": 376_176,
        "inception4b": 449_160,
        "inception4c": 510_104,
        "inception4d": 605_376,
        "inception4e": 868_352,
        "inception5a": 1_043_456,
        "inception5b": 1_444_080,
        "aux1": 3_188_840,
        "aux2": 3_190_888,
        "fc": 1_025_000,
    }


def test_size_after_each_layer() -> None:
    """
    The maps of a 224x224 image are those of table 1.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        network = googlenet().eval()
        for name, layer in network.named_children():
            layer.register_forward_hook(
                lambda _, __, output, name=name: shapes.update({name: tuple(output.shape[1:])})
            )
        network(torch.zeros(1, 3, 224, 224))
    assert shapes == {
        "conv1": (64, 112, 112),
        "pool1": (64, 56, 56),
        "norm1": (64, 56, 56),
        "conv2": (64, 56, 56),
        "conv3": (192, 56, 56),
        "norm2": (192, 56, 56),
        "pool2": (192, 28, 28),
        "inception3a": (256, 28, 28),
        "inception3b": (480, 28, 28),
        "pool3": (480, 14, 14),
        "inception4a": (512, 14, 14),
        "inception4b": (512, 14, 14),
        "inception4c": (512, 14, 14),
        "inception4d": (528, 14, 14),
        "inception4e": (832, 14, 14),
        "pool4": (832, 7, 7),
        "inception5a": (832, 7, 7),
        "inception5b": (1024, 7, 7),
        "avgpool": (1024, 1, 1),
        "dropout": (1024,),
        "fc": (1000,),
    }


@pytest.mark.parametrize(
    ("module", "channels", "parameters", "macs"),
    [(Inception, 256, 163_696, 128_049_152), (NaiveInception, 416, 387_296, 303_464_448)],
)
def test_what_reductions_save(
    module: type[Inception | NaiveInception], channels: int, parameters: int, macs: int
) -> None:
    """
    Module 3a with reductions costs less than half of the naive one.
    """
    with torch.device("meta"):
        network = module(192, WIDTHS["3a"])
        assert network.out_channels == channels
        assert network(torch.zeros(1, 192, 28, 28)).shape == (1, channels, 28, 28)
        assert count_parameters(network) == parameters
        assert count_macs(network, (192, 28, 28)) == macs


def test_normalization() -> None:
    """
    Normalisation is the formula of AlexNet's paper: b = a / (2 + 1e-4 * sum of 5 squares) ** 0.75.
    """
    maps = 100 * random_images(1, 4).repeat(1, 3, 1, 1)
    squares = torch.zeros_like(maps)
    for channel in range(9):
        squares[:, channel] = maps[:, max(channel - 2, 0) : channel + 3].square().sum(1)
    expected = maps / (2 + 1e-4 * squares) ** 0.75
    torch.testing.assert_close(normalization()(maps), expected)


def test_head_pools_as_in_the_paper() -> None:
    """
    A head sees 14x14 maps as they are, and pools them 5x5 with stride 3.
    """
    head = Auxiliary(8, num_classes=3)
    maps = torch.randn(1, 8, 14, 14, generator=torch.Generator().manual_seed(0))
    pooled = head.pool(head.resize(maps))
    assert pooled.shape == (1, 8, 4, 4)
    torch.testing.assert_close(pooled[0, :, 1, 2], maps[0, :, 3:8, 6:11].mean((1, 2)))


def test_agrees_with_torchvision() -> None:
    """
    torchvision's state dict loads into `googlenet_tv`, which then gives the same logits.
    """
    assert_agree(googlenet_tv(), torchvision_googlenet(), random_images(2, 96))


def test_heads_agree_with_torchvision() -> None:
    """
    In training, logits and those of the heads are torchvision's, which gives the later head first.
    """
    network, reference = googlenet_tv(), torchvision_googlenet()
    images = random_images(4, 64)
    assert_agree(network, reference, images)
    logits, early, late = training_outputs(network, images)
    for actual, expected in zip(
        (logits, late, early), training_outputs(reference, images), strict=True
    ):
        assert_close(actual, expected)


@pytest.mark.parametrize("build", WITH_HEADS)
def test_heads_are_for_training(build: Callable[..., nn.Module]) -> None:
    """
    Heads give logits of their own in training, nothing in use, and can be removed.
    """
    network = build(num_classes=3)
    images = random_images(2, 32)
    outputs = network.train()(images)
    assert [logits.shape for logits in outputs] == [(2, 3)] * 3
    assert isinstance(network.eval()(images), Tensor)
    network.drop_auxiliary()  # type: ignore[operator]
    assert not any(key.startswith("aux") for key in network.state_dict())
    assert isinstance(network.train()(images), Tensor)


def test_naive_network_has_no_heads() -> None:
    """
    The naive network gives its logits alone, in training too.
    """
    with torch.device("meta"):
        network = googlenet_naive().train()
        assert network(torch.zeros(2, 3, 224, 224)).shape == (2, 1000)


@pytest.mark.parametrize("build", WITH_HEADS)
def test_network(build: Callable[..., nn.Module]) -> None:
    """
    A network can be traced and trained, and answers each image by itself.
    """
    network = build(num_classes=10)
    assert_traceable(network, random_images(2, 64))
    assert_learns(network, random_images(4, 64))
    assert_independent(network, random_images(3, 64))
