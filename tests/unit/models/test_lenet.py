import pytest
import torch

from convoy.models import ARCHITECTURES
from tests.harness.counts import count_macs, count_parameters


def test_parameters_and_macs() -> None:
    """
    The counts are those of the layer table: 61,706 parameters, 416,520 multiply-accumulates.
    """
    network = ARCHITECTURES["lenet5"].build(num_classes=10)
    assert count_parameters(network) == 61_706
    assert count_macs(network, (1, 32, 32)) == 416_520


def test_parameters_of_each_layer() -> None:
    """
    Each layer has the parameters that the arithmetic on paper gives.
    """
    network = ARCHITECTURES["lenet5"].build()
    counts = {name: count_parameters(layer) for name, layer in network.named_children()}
    assert counts == {
        "conv1": 156,
        "conv2": 2_416,
        "pool": 0,
        "fc1": 48_120,
        "fc2": 10_164,
        "fc3": 850,
    }


@pytest.mark.parametrize(("batch_size", "num_classes"), [(1, 10), (5, 26)])
def test_shape(batch_size: int, num_classes: int) -> None:
    """
    A batch of images gives as many rows of logits.
    """
    network = ARCHITECTURES["lenet5"].build(num_classes=num_classes)
    assert network(torch.zeros(batch_size, 1, 32, 32)).shape == (batch_size, num_classes)


def test_images_do_not_see_each_other() -> None:
    """
    The logits of an image do not depend on its neighbours in the batch.
    """
    network = ARCHITECTURES["lenet5"].build().eval()
    images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    together = network(images)
    alone = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-6)
