import pytest
import torch
from torchvision import models as torchvision_models

from convoy.models import ARCHITECTURES
from tests.unit.models.references import assert_agree, random_images

NAMES = {"alexnet_owt": "alexnet"}

ALL = (
    *("alexnet_owt", "vgg11", "vgg13", "vgg16", "vgg19"),
    *("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
)


FAST = ("alexnet_owt", "vgg11", "vgg16_bn", "resnet18", "resnet50")
"""One of each kind."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in ALL],
)
def test_agrees_with_torchvision(name: str) -> None:
    """
    torchvision's state dict loads, and the logits are torchvision's.
    """
    reference = torchvision_models.get_model(NAMES.get(name, name), weights=None)
    side = 224 if name == "alexnet_owt" else 96 if name.startswith("resnet") else 64
    assert_agree(ARCHITECTURES[name].build(), reference, random_images(2, side))


@pytest.mark.parametrize("name", ALL)
def test_same_state_dict_as_torchvision(name: str) -> None:
    """
    Names and shapes of all weights are torchvision's, in torchvision's order.
    """
    with torch.device("meta"):
        ours = ARCHITECTURES[name].build().state_dict()
        theirs = torchvision_models.get_model(NAMES.get(name, name), weights=None).state_dict()
    assert [(key, value.shape) for key, value in ours.items()] == [
        (key, value.shape) for key, value in theirs.items()
    ]
