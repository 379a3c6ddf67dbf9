"""The optimisation of a recipe: first weights, optimiser, schedule, average."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import PARAM_LIST, AveragedModel, get_ema_multi_avg_fn

from convoy.export.recipes.recipe import Exponential, OneCycle, Recipe, RmsProp, Sgd, Steps
from convoy.models.resnet import BasicBlock, Bottleneck


def initialize_he(network: nn.Module) -> None:
    """Set He's normal weights by fan-in (arXiv:1502.01852) and zero biases, in place."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialize_open_maps(network: nn.Module) -> None:
    """
    Set He's weights, except that the last maps of Network in Network begin near 1, in place.

    Each is a logit that passes a ReLU. Softmax pushes large ones down, and below zero they have no
    gradient: with He's weights all are at zero for every image after an epoch, at any
    rate from 0.001 to 0.01 and with either optimiser. Ours; seen on validation digits.
    """
    initialize_he(network)
    *_, last = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    assert last.bias is not None
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.fill_(1.0)


def initialize_near_linear(network: nn.Module) -> None:
    """
    Shift the output of batch norm by 1, so that ReLUs pass most of it at first, in place.

    Batch norm multiplies gradients from layer to layer where there are no shortcuts; near the
    linear regime it does so less (Yang et al., arXiv:1902.08129). Inception-v4's gradient is 2,150
    long at first, and 47 with the shift.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.bias)


def initialize_zero_residual(network: nn.Module) -> None:
    """
    Let each residual block begin as its shortcut, in place: the last scale of its branch is zero.

    Goyal et al., arXiv:1706.02677, section 5.1.
    """
    for module in network.modules():
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)
        elif isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)


INITIALIZATIONS: Mapping[str, Callable[[nn.Module], None]] = MappingProxyType(
    {
        "he": initialize_he,
        "open_maps": initialize_open_maps,
        "near_linear": initialize_near_linear,
        "zero_residual": initialize_zero_residual,
    }
)
"""First weights instead of the network's own, by their name in `Recipe.initialization`."""


def make_optimizer(network: nn.Module, chosen: Sgd | RmsProp) -> Optimizer:
    """Make the optimiser of the parameters of *network* that may change."""
    if isinstance(chosen, Sgd):
        return SGD(
            _decay_groups(network, chosen.weight_decay, chosen.decay_vectors),
            chosen.learning_rate,
            chosen.momentum,
            nesterov=chosen.nesterov,
        )
    return RMSprop(
        _decay_groups(network, chosen.weight_decay, decay_vectors=True),
        chosen.learning_rate,
        alpha=chosen.decay,
        eps=chosen.epsilon,
        momentum=chosen.momentum,
    )


def _decay_groups(
    network: nn.Module, weight_decay: float, decay_vectors: bool
) -> Iterator[dict[str, object]]:
    """Let weights decay; biases and other vectors only if the recipe says so."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    yield {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay}
    yield {
        "params": [p for p in parameters if p.ndim <= 1],
        "weight_decay": weight_decay if decay_vectors else 0.0,
    }


def make_schedule(optimizer: Optimizer, recipe: Recipe, steps_per_epoch: int) -> LRScheduler:
    """Make the schedule of the learning rate; it is stepped once after each batch."""
    total, chosen = steps_per_epoch * recipe.epochs, recipe.schedule
    # By steps over the whole training, by shares of it, or by epochs.
    if isinstance(chosen, OneCycle):
        return OneCycleLR(optimizer, recipe.optimizer.learning_rate, total_steps=total)
    if isinstance(chosen, Steps):
        return LambdaLR(optimizer, lambda step: _steps_factor(chosen, step / total))
    return LambdaLR(optimizer, lambda step: _exponential_factor(chosen, step // steps_per_epoch))


def _steps_factor(schedule: Steps, progress: float) -> float:
    return schedule.factor ** sum(progress >= share for share in schedule.after)


def _exponential_factor(schedule: Exponential, epochs_done: int) -> float:
    return schedule.factor ** (epochs_done // schedule.epochs)


def make_average(network: nn.Module, decay: float | None) -> AveragedModel | None:
    """
    Make a moving average of the weights and statistics of *network*; None without *decay*.

    Its decay begins lower, as in TensorFlow-Slim (`ExponentialMovingAverage` with `num_updates`):
    the average of a short training would hold the first weights, which are random.
    """
    if decay is None:
        return None

    def update(averages: PARAM_LIST, weights: PARAM_LIST, count: Tensor | int) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        get_ema_multi_avg_fn(now)(averages, weights, count)  # type: ignore[no-untyped-call]

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)


def use_average(network: nn.Module, average: AveragedModel | None) -> None:
    """Put the averaged weights into *network*, where there are any."""
    if average is not None:
        with torch.no_grad():
            network.load_state_dict(average.module.state_dict())
