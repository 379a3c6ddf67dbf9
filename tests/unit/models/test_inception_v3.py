import torch
import torchvision
from torch import Tensor, nn

from convoy.models.inception_v3 import Auxiliary, inception_v3
from tests.unit.models.references import (
    assert_agree,
    assert_close,
    assert_independent,
    assert_learns,
    assert_traceable,
    random_images,
    training_outputs,
)


def torchvision_inception_v3() -> nn.Module:
    return torchvision.models.inception_v3(
        init_weights=False, aux_logits=True, transform_input=False
    )


def test_agrees_with_torchvision() -> None:
    """
    torchvision's state dict loads, and logits are then the same at the smallest size.
    """
    assert_agree(inception_v3(), torchvision_inception_v3(), random_images(2, 75))


def test_agrees_with_torchvision_at_299() -> None:
    """
    At the size it was designed for, logits and, in training, those of the head are torchvision's.
    """
    network, reference = inception_v3(), torchvision_inception_v3()
    images = random_images(2, 299)
    assert_agree(network, reference, images)
    for actual, expected in zip(
        training_outputs(network, images), training_outputs(reference, images), strict=True
    ):
        assert_close(actual, expected)


def test_head_sees_maps_as_they_are() -> None:
    """
    A head changes nothing about 17x17 maps, and makes as many of fewer.
    """
    maps = torch.randn(1, 4, 17, 17, generator=torch.Generator().manual_seed(0))
    head = Auxiliary(num_classes=3)
    assert torch.equal(head.resize(maps), maps)
    assert head.resize(maps[:, :, :3, :3]).shape == (1, 4, 17, 17)


def test_head_is_for_training() -> None:
    """
    The head gives logits of its own in training, nothing in use, and can be removed.
    """
    network = inception_v3(num_classes=3)
    images = random_images(2, 75)
    logits, auxiliary = network.train()(images)
    assert logits.shape == auxiliary.shape == (2, 3)
    assert isinstance(network.eval()(images), Tensor)
    network.drop_auxiliary()
    assert not any(key.startswith("Aux") for key in network.state_dict())
    assert isinstance(network.train()(images), Tensor)


def test_network() -> None:
    """
    The network can be traced and trained, and answers each image by itself.
    """
    network = inception_v3(num_classes=10)
    assert_traceable(network, random_images(2, 75))
    assert_learns(network, random_images(4, 75))
    assert_independent(network, random_images(3, 75))
