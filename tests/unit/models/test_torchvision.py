import pytest
import torch
from torchvision import models as torchvision_models

from models import ARCHITECTURES
from tests.unit.models.references import assert_agree, random_images

# The side of the images that each is compared on.
SIDES = {"alexnet_owt": 224, "vgg11": 64, "vgg16_bn": 64, "resnet18": 96, "resnet50": 96}

NAMES = {"alexnet_owt": "alexnet"}

SAME_KEYS = (
    *("alexnet_owt", "vgg11", "vgg13", "vgg16", "vgg19"),
    *("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
)


@pytest.mark.parametrize("name", SIDES)
def test_agrees_with_torchvision(name: str) -> None:
    """
    torchvision's state dict loads, and the logits are torchvision's.
    """
    reference = torchvision_models.get_model(NAMES.get(name, name), weights=None)
    assert_agree(ARCHITECTURES[name].build(), reference, random_images(2, SIDES[name]))


@pytest.mark.parametrize("name", SAME_KEYS)
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
