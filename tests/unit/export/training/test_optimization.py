import math

import pytest
import torch
from torch import nn

from convoy.export.recipes import SMALL
from convoy.export.training.optimization import (
    initialize_he,
    initialize_near_linear,
    initialize_open_maps,
    initialize_zero_residual,
    make_optimizer,
    make_schedule,
)
from convoy.models.nin import nin
from convoy.models.resnet import BasicBlock, Bottleneck


def gradient_norm(network: nn.Module) -> float:
    """Length of the gradient of a loss on noise."""
    images = torch.randn(64, 32, generator=torch.Generator().manual_seed(1))[..., None, None]
    loss = nn.functional.cross_entropy(network(images).flatten(1), torch.arange(64) % 10)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    return math.hypot(*(float(gradient.norm()) for gradient in gradients))


def deep() -> nn.Sequential:
    """Forty layers with batch norm and without shortcuts."""
    torch.manual_seed(0)
    layers = [
        nn.Sequential(nn.Conv2d(32, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        for _ in range(40)
    ]
    return nn.Sequential(*layers, nn.Conv2d(32, 10, 1))


def test_near_the_linear_regime_gradients_do_not_explode() -> None:
    """
    In a deep network without shortcuts the shifts shorten the gradient by far.
    """
    as_it_is, shifted = deep(), deep()
    initialize_near_linear(shifted)
    assert gradient_norm(as_it_is) > 10 * gradient_norm(shifted)


def test_he_keeps_the_size_of_signals() -> None:
    """
    He's weights have the variance 2 / fan-in, and biases are zero.
    """
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 256, 3)
    initialize_he(layer)
    assert layer.bias is not None
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)
    assert not layer.bias.any()


def test_open_maps_all_have_a_gradient() -> None:
    """
    Every logit of Network in Network begins above zero, where its ReLU lets gradients through;
    with He's weights half of them do not.
    """
    torch.manual_seed(0)
    network, images = nin(10), torch.randn(32, 3, 64, 64)
    initialize_he(network)
    assert (network(images) == 0).float().mean() > 0.25
    initialize_open_maps(network)
    logits = network(images)
    assert logits.min() > 0
    assert logits.std(0).min() > 0


@pytest.mark.parametrize("block", [BasicBlock(64, 64), Bottleneck(64, 16)])
def test_zero_residual_blocks_begin_as_their_shortcuts(block: nn.Module) -> None:
    """
    A block gives what it got, and the scale that is zero gets a gradient.
    """
    block.train()
    images = torch.rand(2, 64, 8, 8)  # not negative, so that the last ReLU changes nothing
    assert not torch.equal(block(images), images)
    initialize_zero_residual(block)
    assert torch.equal(block(images), images)
    block(images).square().sum().backward()
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms[-1].weight.grad is not None
    assert norms[-1].weight.grad.any()


@pytest.mark.parametrize("name", ["lenet5", "vgg16"])
def test_momentum_of_one_cycle(name: str) -> None:
    """
    One cycle moves the momentum, of either optimiser, between the numbers that it states.
    """
    network, recipe = nn.Linear(2, 2), SMALL[name]
    optimizer = make_optimizer(network, recipe.optimizer)
    schedule = make_schedule(optimizer, recipe, steps_per_epoch=10)
    found = []
    for _ in range(10 * recipe.epochs):
        found.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        schedule.step()
    assert (found[0], min(found), found[-1]) == pytest.approx((0.95, 0.85, 0.95))
