"""The training loop: seeded and resumable, with a report of each step."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from convoy.export.errors import TrainingError
from convoy.export.recipes import Recipe
from convoy.export.training.batches import Batches, derive
from convoy.export.training.compute import Compute
from convoy.export.training.epoch_log import Epoch, best_epoch, epochs_without_progress
from convoy.export.training.optimization import (
    make_average,
    make_optimizer,
    make_schedule,
    use_average,
)
from convoy.export.training.run_folder import BEST_FILE, LAST_FILE, Run


@dataclass(frozen=True, slots=True)
class Step:
    """
    Progress of a training.

    Attributes:
        epoch: From 1.
        done: Steps taken, of `total`.
        loss: Mean loss in this epoch so far, of this process.
        accuracy: Share of training images answered right in this epoch so far.
    """

    epoch: int
    done: int
    total: int
    loss: float
    accuracy: float


class Listener(Protocol):
    """A listener to a training, such as its display."""

    def step(self, step: Step) -> None:
        """Take the progress after a step."""

    def epoch(self, epochs: Sequence[Epoch]) -> None:
        """Take the measurements of all epochs so far, after each."""


Validate = Callable[[nn.Module], tuple[float, float]]
"""Function that returns loss and accuracy of a network, in evaluation mode, on other images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that a training changes; the content of a checkpoint."""

    network: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    average: AveragedModel | None
    scaler: torch.amp.GradScaler

    def served(self) -> nn.Module:
        """Return the network that would be exported now, in evaluation mode: the average if any."""
        return (self.network if self.average is None else self.average.module).eval()

    def parts(self) -> dict[str, Any]:
        """Return each part that has a state, by name."""
        names = ("network", "optimizer", "schedule", "average", "scaler")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def save(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts().items()}

    def load(self, saved: dict[str, Any]) -> None:
        for name, part in self.parts().items():
            part.load_state_dict(saved[name])


def train(
    network: nn.Module,
    batches: Batches,
    recipe: Recipe,
    *,
    seed: int,
    compute: Compute,
    run: Run,
    listener: Listener,
    validate: Validate | None = None,
    class_weights: Tensor | None = None,
) -> None:
    """
    Fit *network* in place and leave it in evaluation mode, with the weights of the last epoch.

    Its parameters are averaged if the recipe says so. A training resumes after the last epoch of
    which *run* has a checkpoint. *run* keeps the weights of the best epoch and of the last one.

    Args:
        network: Takes normalised float32 `[N, C, H, W]`, gives logits; on `compute.device`.
            Parameters that need no gradient do not change.
        seed: Seed of dropout; the batches have their own.
        validate: Measures the weights after each epoch, averaged if the recipe says so.
        class_weights: Weight of the loss of each class's images; None weights them alike.

    Raises:
        TrainingError: If the loss is not finite.
    """
    state = _begin(network, batches, recipe, compute)
    if run.state is not None:
        state.load(run.state)
    loop = _Loop(compute.wrap(network), state, batches, recipe, compute, listener, class_weights)
    while not _is_over(run.epochs, recipe):
        number = len(run.epochs) + 1
        started = time.perf_counter()
        # A seed per epoch, so that a resumed training draws the same numbers.
        torch.manual_seed(derive(seed, number, compute.rank))
        _train_mode(network)
        loss, accuracy = loop.epoch(number)
        validation: tuple[float | None, float | None] = (None, None)
        if validate is not None:
            # Processes measure parts of the images on one network: that of the first is exported.
            compute.share_buffers(state.served())
            validation = validate(state.served())
        run.epochs.append(
            Epoch(
                epoch=number,
                seconds=time.perf_counter() - started,
                learning_rate=float(state.schedule.get_last_lr()[0]),
                loss=loss,
                accuracy=accuracy,
                validation_loss=validation[0],
                validation_accuracy=validation[1],
            )
        )
        if compute.is_first:
            # The weights first: a training that is killed in between takes the epoch once more.
            if validate is not None and best_epoch(run.epochs).epoch == number:
                run.keep(BEST_FILE, state.served())
            run.save(state.save())
        listener.epoch(run.epochs)
    use_average(network, state.average)
    network.eval()
    if compute.is_first:
        run.keep(LAST_FILE, network)


def _is_over(epochs: Sequence[Epoch], recipe: Recipe) -> bool:
    """Return whether all epochs are done, or enough of them without progress."""
    is_stuck = bool(
        recipe.patience and epochs and epochs_without_progress(epochs) >= recipe.patience
    )
    return len(epochs) >= recipe.epochs or is_stuck


def _begin(network: nn.Module, batches: Batches, recipe: Recipe, compute: Compute) -> State:
    optimizer = make_optimizer(network, recipe.optimizer)
    return State(
        network=network,
        optimizer=optimizer,
        schedule=make_schedule(optimizer, recipe, batches.steps),
        average=make_average(network, recipe.averaging),
        scaler=torch.amp.GradScaler(compute.device.type, enabled=compute.autocast == torch.float16),
    )


@dataclass(frozen=True, slots=True)
class _Loop:
    """The steps of the epochs, and what they share."""

    model: nn.Module
    state: State
    batches: Batches
    recipe: Recipe
    compute: Compute
    listener: Listener
    class_weights: Tensor | None

    def epoch(self, number: int) -> tuple[float, float]:
        """Take the steps of one epoch; return loss and accuracy over all processes."""
        compute, steps = self.compute, self.batches.steps
        sums = torch.zeros(3, dtype=torch.float64)  # loss, right answers, images
        done, total = (number - 1) * steps, self.recipe.epochs * steps
        for images, labels in self.batches.epoch(number):
            # Most convolutions are fastest in this layout, on processors and on GPUs.
            images = images.to(memory_format=torch.channels_last)
            with torch.autocast(
                compute.device.type, compute.autocast, enabled=compute.autocast is not None
            ):
                loss, logits = self._loss(images, labels)
            value = loss.item()
            # Before the step: it would write such numbers into every weight.
            if not torch.isfinite(loss):
                raise TrainingError(f"the loss became {value} in epoch {number}")
            self._step(loss)
            done += 1
            right = (logits.argmax(1) == labels).sum().item()
            sums += torch.tensor([value * len(labels), right, len(labels)], dtype=torch.float64)
            self.listener.step(Step(number, done, total, *_means(sums)))
        return _means(compute.sum(sums.to(compute.device)))

    def _loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, including that of auxiliary heads, and the network's own logits."""
        outputs = self.model(images)
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)

        def loss_of(head: Tensor) -> Tensor:
            smoothing = self.recipe.label_smoothing
            return F.cross_entropy(head, labels, self.class_weights, label_smoothing=smoothing)

        loss = loss_of(logits)
        for head in auxiliary:
            loss = loss + self.recipe.auxiliary_weight * loss_of(head)
        return loss, logits

    def _step(self, loss: Tensor) -> None:
        state, clip = self.state, self.recipe.gradient_clip
        state.optimizer.zero_grad()
        state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        # The norm is that of the true gradients, not of the scaled ones.
        if clip is not None:
            state.scaler.unscale_(state.optimizer)
            nn.utils.clip_grad_norm_(state.network.parameters(), clip)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.schedule.step()
        if state.average is not None:
            state.average.update_parameters(state.network)


def _means(sums: Tensor) -> tuple[float, float]:
    """Return mean loss and accuracy from the sums of losses, of right answers and of images."""
    loss, accuracy = (sums[:2] / sums[2]).tolist()
    return loss, accuracy


def freeze_except(network: nn.Module, names: Collection[str] | None) -> None:
    """Let only the parameters *names* of *network* change; None lets all of them."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad = names is None or name in names


def _train_mode(network: nn.Module) -> None:
    """Set training mode, except for frozen layers: their statistics do not change either."""
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()
