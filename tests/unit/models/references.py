"""Comparison of networks with an independent implementation, and what tests of it need."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.fx import symbolic_trace
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

TOLERANCE = 1e-4
"""Largest difference of two logits, as a share of the range of all logits."""


def random_images(count: int, side: int, seed: int = 0) -> Tensor:
    """Images `[count, 3, side, side]` that look normalised: N(0, 1)."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def randomize(network: nn.Module, images: Tensor, seed: int = 0) -> None:
    """
    Give *network* numbers that matter in each place of its state dict, and evaluation mode.

    Weights are He's, biases and what batch norms multiply and add are random. The statistics of a
    batch norm are those of what it gets when *images* go through, somewhat off: so activations
    stay of order 1 at any depth.
    """
    generator = torch.Generator().manual_seed(seed)
    hooks = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        elif isinstance(module, _BatchNorm):
            module.weight.uniform_(0.5, 1.5, generator=generator)
            hooks.append(module.register_forward_pre_hook(partial(_set_statistics, generator)))
        else:
            continue
        if module.bias is not None:
            module.bias.normal_(std=0.1, generator=generator)
    network.eval()(images)
    for hook in hooks:
        hook.remove()


def _set_statistics(
    generator: torch.Generator, norm: _BatchNorm, inputs: tuple[Tensor, ...]
) -> None:
    """Let *norm* expect nearly what it is about to get."""
    channels = inputs[0].transpose(0, 1).flatten(1)
    noise = torch.rand(norm.num_features, generator=generator) - 0.5
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(channels.mean(1) + 0.2 * noise)
    # No variance near 0, which would make much of a rounding error.
    norm.running_var.copy_(channels.var(1) * (1 + noise) + 0.1)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Logits differ by no more than `TOLERANCE` of their range, which is not nothing."""
    spread = float(expected.max() - expected.min())
    assert actual.shape == expected.shape
    assert 0.1 < spread < 100
    assert float((actual - expected).abs().max()) <= TOLERANCE * spread


def assert_agree(network: nn.Module, reference: nn.Module, images: Tensor) -> None:
    """
    The whole state dict of *reference*, made random, loads into *network*, and both then give the
    same logits for *images*; no image gets the logits of another.
    """
    randomize(reference, images)
    network.load_state_dict(reference.state_dict(), strict=True)
    network.eval()
    with torch.inference_mode():
        actual, expected = network(images), reference(images)
    assert_close(actual, expected)
    assert float((expected[0] - expected[1]).abs().max()) > 100 * TOLERANCE


def training_outputs(network: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs of *network*, with auxiliary heads, in training without dropout."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        return tuple(network(images))


def assert_traceable(network: nn.Module, images: Tensor) -> None:
    """`torch.fx` can follow *network* in training and in use, and gives the same."""
    for training in (True, False):
        network.train(training)
        traced = symbolic_trace(network)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            expected = network(images)
            torch.manual_seed(0)
            torch.testing.assert_close(traced(images), expected)


def assert_learns(network: nn.Module, images: Tensor) -> None:
    """In training, a gradient reaches every parameter of *network*, the first from each head."""
    outputs = network.train()(images)
    labels = torch.arange(len(images))
    first = next(network.parameters())
    for logits in outputs if isinstance(outputs, tuple) else (outputs,):
        first.grad = None
        cross_entropy(logits, labels).backward(retain_graph=True)  # type: ignore[no-untyped-call]
        assert first.grad is not None
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert 0 < float(parameter.grad.abs().sum()) < float("inf"), name


def assert_independent(network: nn.Module, images: Tensor) -> None:
    """In use, the logits of an image do not depend on its neighbours in the batch."""
    network.eval()
    with torch.inference_mode():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    assert_close(together, alone)
