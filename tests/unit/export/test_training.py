import dataclasses

import pytest
import torch

from export.errors import TrainingError
from export.recipes import RECIPES, Affine
from export.training import Normalize, Step, _batches, distort, train
from models import ARCHITECTURES

STILL = Affine(rotation_deg=0, translation=0, scale=0, shear_deg=0)


def stripes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Horizontal or vertical stripes with noise: a task that a network learns in moments."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    pixels = torch.randint(0, 60, (count, 32, 32, 1), generator=random, dtype=torch.uint8)
    pixels[labels == 0, ::4] = 250
    pixels[labels == 1, :, ::4] = 250
    return pixels, labels


def fit(seed: int = 0) -> tuple[torch.nn.Module, list[Step]]:
    torch.manual_seed(seed)
    network = ARCHITECTURES["lenet5"].build(num_classes=2)
    recipe = dataclasses.replace(RECIPES["lenet5"], epochs=2, batch_size=16)
    steps: list[Step] = []
    train(network, *stripes(128), recipe, seed, steps.append)
    return network, steps


def test_learns_and_reports() -> None:
    """
    The loss falls, each step is reported, and the network is left in evaluation mode.
    """
    network, steps = fit()
    assert [step.done for step in steps] == list(range(1, 17))
    assert {step.total for step in steps} == {16}
    assert (steps[0].epoch, steps[-1].epoch) == (1, 2)
    assert steps[-1].loss < steps[0].loss
    assert steps[-1].accuracy > 0.9
    assert not network.training


def test_same_seed_same_weights() -> None:
    """
    A training can be repeated; another seed gives another one.
    """
    first, second, other = (fit(seed)[0].state_dict()["fc3.weight"] for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_loss_that_is_no_number() -> None:
    """
    A training that goes astray ends with an error, not with an artifact.
    """
    network = ARCHITECTURES["lenet5"].build(num_classes=2)
    recipe = dataclasses.replace(RECIPES["lenet5"], epochs=5, learning_rate=1e30)
    with pytest.raises(TrainingError, match="the loss became"):
        train(network, *stripes(64), recipe, 0, lambda step: None)


@pytest.mark.parametrize(
    ("count", "sizes"), [(4, [4]), (8, [4, 4]), (9, [4, 5]), (10, [4, 4, 2]), (1, [1])]
)
def test_no_batch_of_one(count: int, sizes: list[int]) -> None:
    """
    A single last image joins the batch before it, as batch norm needs two.
    """
    order = torch.arange(count)
    batches = _batches(order, 4)
    assert [len(batch) for batch in batches] == sizes
    assert torch.equal(torch.cat(batches), order)


def test_normalize() -> None:
    """
    Pixels become (pixel / 255 - mean) / std, channels first.
    """
    images = torch.tensor([[[[0, 255]], [[51, 102]]]], dtype=torch.uint8)
    normalized = Normalize((0.2, 0.4), (0.5, 0.25))(images)
    expected = torch.tensor([[[[-0.4], [0.0]], [[2.4], [0.0]]]])
    assert torch.allclose(normalized, expected, atol=1e-6)


def test_no_distortion_changes_nothing() -> None:
    """
    With every bound at zero the images stay as they are.
    """
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    distorted = distort(images, STILL, torch.Generator().manual_seed(0))
    assert torch.allclose(distorted, images, atol=1e-5)


@pytest.mark.parametrize("field", ["rotation_deg", "translation", "scale", "shear_deg"])
def test_each_distortion_moves_each_image(field: str) -> None:
    """
    Each bound has an effect, a different one on each image, and only black moves in.
    """
    images = torch.zeros(2, 1, 16, 16)
    images[:, :, 4:10, 5:11] = 1
    affine = dataclasses.replace(STILL, **{field: 30 if "deg" in field else 0.3})
    distorted = distort(images, affine, torch.Generator().manual_seed(1))
    assert not torch.allclose(distorted[0], images[0], atol=0.01)
    assert not torch.allclose(distorted[0], distorted[1], atol=0.01)
    assert distorted.min() >= 0
    assert distorted.max() <= 1 + 1e-5
