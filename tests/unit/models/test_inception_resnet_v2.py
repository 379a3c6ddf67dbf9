import timm

from convoy.models.inception_resnet_v2 import inception_resnet_v2
from tests.unit.models.references import (
    assert_agree,
    assert_independent,
    assert_learns,
    assert_traceable,
    random_images,
)


def test_agrees_with_timm() -> None:
    """
    timm's state dict loads, and logits are then the same.
    """
    reference = timm.create_model("inception_resnet_v2", pretrained=False)
    assert_agree(inception_resnet_v2(), reference, random_images(2, 96))


def test_network() -> None:
    """
    The network can be traced and trained, and answers each image by itself.
    """
    network = inception_resnet_v2(num_classes=10)
    assert_traceable(network, random_images(2, 75))
    assert_learns(network, random_images(4, 75))
    assert_independent(network, random_images(3, 75))
