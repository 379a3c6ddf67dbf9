"""From a task to a trained network: first weights, head, and all parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from convoy.export.data import Split
from convoy.export.errors import TrainingError
from convoy.export.recipes import Recipe
from convoy.export.subject import Subject
from convoy.export.training import progress
from convoy.export.training.batches import Batches, make_batches
from convoy.export.training.compute import Compute, joined
from convoy.export.training.epoch_log import best_epoch
from convoy.export.training.optimization import INITIALIZATIONS
from convoy.export.training.provenance import identity, run_record, subject_of, with_kept
from convoy.export.training.run_folder import Run, locked
from convoy.export.training.run_record import RECORD_FILE, write_record
from convoy.export.training.task import Task
from convoy.export.training.trainer import freeze_except, train
from convoy.export.training.validation import Validation
from convoy.export.weights import head_names, load_into
from convoy.models import ARCHITECTURES, drop_auxiliary


def fit(task: Task, console: Console) -> Subject | None:
    """
    Train the network of *task*; report progress to *console*.

    Returns:
        The subject to export, with the weights of the best epoch by `epoch_log.RULE`; None with
        `validate_only`, and in processes that torchrun started beside the first.

    Raises:
        ExportError: If the training diverges, the weights do not fit, or another training
            has the folder.
    """
    settings = task.settings
    with joined(settings.device, settings.mixed_precision) as compute, ExitStack() as stack:
        if compute.is_first:
            stack.enter_context(locked(settings.runs / settings.model_name))
        shown = console if compute.is_first else Console(emoji=False, quiet=True)
        # Of the whole process, which may be a notebook with other networks.
        before = torch.are_deterministic_algorithms_enabled()
        stack.callback(torch.use_deterministic_algorithms, before)
        torch.use_deterministic_algorithms(compute.device.type == "cpu")
        run = _run(task, compute)
        head_run = _run(task, compute, of_head=True) if settings.head_epochs else None
        record = run_record(task, run, compute)
        if compute.is_first:
            stack.enter_context(run.watched())
            run.begin(record, shown)
        network = _network(task, shown).to(compute.device)
        batches = make_batches(task.split, task.recipe, settings.seed, compute, settings.workers)
        fitting = _Fitting(task, network, batches, compute, _validation(task, compute), shown)
        # Fine-tuning in two steps: the new head learns alone before the body may change.
        if head_run:
            head = head_names(settings.architecture)
            recipe = dataclasses.replace(task.recipe, epochs=settings.head_epochs)
            shown.print("the new head alone:")
            fitting.train(recipe, head_run, only=head)
            shown.print("the whole network:")
        fitting.train(task.recipe, run)
        if head_run:
            head_run.finish()  # not before: a resumed training begins with this head
    # Only the first process has an artifact to write.
    if not compute.is_first:
        return None
    record = with_kept(record, run, task.validation)
    write_record(record, run.folder)
    _report_chosen(task, run, console)
    # A training to choose a recipe by: it writes no artifact.
    if settings.validate_only:
        run.finish()
        return None
    network.cpu().load_state_dict(run.weights(record.kept[0].file))
    drop_auxiliary(network)
    return subject_of(record, record.kept[0], network, task.data_set, run)


def _report_chosen(task: Task, run: Run, console: Console) -> None:
    """Print the epoch whose weights are exported, and why."""
    last, best = run.epochs[-1], best_epoch(run.epochs)
    if last.epoch < task.recipe.epochs:
        console.print(
            f"stopped after epoch {last.epoch} of {task.recipe.epochs}: "
            f"{task.recipe.patience} epochs without progress"
        )
    if task.validation is None:
        console.print(f"weights of the last epoch, {last.epoch}: nothing was validated")
        return
    console.print(
        f"best epoch {best.epoch}: accuracy {best.validation_accuracy:.4f} on "
        f"{len(task.validation)} validation images; after the last, {last.epoch}: "
        f"{last.validation_accuracy:.4f}"
        + ("; no artifact written" if task.settings.validate_only else "")
    )


def _run(task: Task, compute: Compute, *, of_head: bool = False) -> Run:
    """Open the folder of the training, or of that of the head alone."""
    settings = task.settings
    folder = settings.runs / f"{settings.model_name}{'-head' if of_head else ''}"
    # Its measurements would be overwritten.
    if of_head and (folder / RECORD_FILE).exists():
        raise TrainingError(
            f"{folder} holds another training, and is where the head would be trained first: "
            "choose another --name"
        )
    return Run(
        folder,
        identity(task, compute.world_size),
        settings.training_command,
        keeps_weights=not of_head,
        trackers=() if of_head else task.trackers,
    )


def _network(task: Task, console: Console) -> nn.Module:
    """Build the network; the same seed gives the same weights."""
    name, seed = task.settings.architecture, task.settings.seed
    torch.manual_seed(seed)
    network = ARCHITECTURES[name].build(num_classes=len(task.data_set.labels))
    # The recipe's first weights, then public ones over them.
    if initialize := INITIALIZATIONS.get(task.recipe.initialization):
        initialize(network)
    if task.weights is not None:
        head = head_names(name)
        load_into(network, task.weights.state, task.weights.source, new=head)
        console.print(
            f"new head for {len(task.data_set.labels)} classes: {', '.join(sorted(head))}"
        )
    return network


def _validation(task: Task, compute: Compute) -> Validation | None:
    if task.validation is None:
        return None
    return Validation(task.validation, task.recipe, compute, task.settings.workers)


@dataclass(frozen=True, slots=True)
class _Fitting:
    """A network and all that its trainings share: that of the head alone, and that of the whole."""

    task: Task
    network: nn.Module
    batches: Batches
    compute: Compute
    validate: Validation | None
    console: Console

    def train(self, recipe: Recipe, run: Run, only: Collection[str] | None = None) -> None:
        """Train all of the network, or the parameters *only*."""
        settings, console = self.task.settings, self.console
        if run.epochs:
            console.print(f"resuming after epoch {len(run.epochs)} of {recipe.epochs}")
        freeze_except(self.network, only)
        try:
            with progress.shown(console, recipe.epochs) as listener:
                train(
                    self.network,
                    self.batches,
                    recipe,
                    seed=settings.seed,
                    compute=self.compute,
                    run=run,
                    listener=listener,
                    validate=self.validate,
                    class_weights=self._class_weights(recipe),
                )
        except (RuntimeError, ValueError) as error:
            raise _explained(error, settings.workers) from error
        except KeyboardInterrupt:
            if run.epochs:
                console.print(f"run the same command again to resume after epoch {len(run.epochs)}")
            raise
        finally:
            if self.compute.is_first:
                run.draw(run.folder.name)
        freeze_except(self.network, None)

    def _class_weights(self, recipe: Recipe) -> Tensor | None:
        if recipe.balance_classes != "weights":
            return None
        weights = balanced_weights(self.task.split, len(self.task.data_set.labels))
        return weights.to(self.compute.device)


def balanced_weights(images: Split, classes: int) -> Tensor:
    """Return the weight of each class's images: float32 `[classes]`, 1 on average over *images*."""
    counts = np.bincount(images.labels, minlength=classes)
    # As scikit-learn's "balanced": each class counts as much as if it had the mean number.
    return torch.from_numpy(len(images) / (classes * np.maximum(counts, 1))).float()


def _explained(error: Exception, workers: int) -> Exception:
    """Return *error*, or a line that explains it, where torch's own text has no remedy."""
    if str(error).startswith("Expected more than 1 value per channel"):
        return TrainingError(
            "batch norm needs at least two images in each step of each process: give a larger "
            "--batch-size"
        )
    if not str(error).startswith("DataLoader worker"):
        return error
    return TrainingError(
        f"one of the {workers} processes that decode photographs was killed ({error}): memory or "
        "shared memory (/dev/shm) may be short; give fewer --workers, or 0 to decode without them"
    )
