"""From a task to a trained network: first weights, head, and all parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from contextlib import ExitStack

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import nn

from convoy.artifact import manifest
from convoy.export.accuracy import accuracy
from convoy.export.errors import TrainingError
from convoy.export.normalization import Normalize
from convoy.export.recipes import Recipe, record
from convoy.export.subject import Subject
from convoy.export.training import progress
from convoy.export.training.batches import Batches, make_batches
from convoy.export.training.compute import Compute, joined
from convoy.export.training.optimization import INITIALIZATIONS
from convoy.export.training.run_folder import Run, locked
from convoy.export.training.task import Task
from convoy.export.training.trainer import Watch, freeze_except, train
from convoy.export.weights import head_names, load_into
from convoy.models import ARCHITECTURES, drop_auxiliary


def fit(task: Task, console: Console) -> Subject | None:
    """
    Train the network of *task*; report progress to *console*.

    Returns:
        The subject to export; None with `validate_only`, and in processes that torchrun started
        beside the first.

    Raises:
        ExportError: If the training diverges, the weights do not fit, or another training
            has the folder.
    """
    settings = task.settings
    with joined(settings.device, settings.mixed_precision) as compute, ExitStack() as stack:
        if compute.is_first:
            stack.enter_context(locked(settings.runs / settings.model_name))
        shown = console if compute.is_first else Console(quiet=True)
        torch.use_deterministic_algorithms(compute.device.type == "cpu")
        network = _network(task, shown).to(compute.device)
        batches = make_batches(task.split, task.recipe, settings.seed, compute, settings.workers)
        # Fine-tuning in two steps: the new head learns alone before the body may change.
        if settings.head_epochs:
            head = head_names(settings.architecture)
            head_run = _train(task, network, batches, compute, shown, only=head)
        run = _train(task, network, batches, compute, shown)
        if settings.head_epochs:
            head_run.finish()  # not before: a resumed training begins with this head
    # Only the first process has an artifact to write.
    if not compute.is_first:
        return None
    # A training to choose a recipe by: it writes no artifact.
    if task.watched is not None:
        share, count = run.epochs[-1].validation_accuracy, len(task.watched)
        console.print(f"accuracy {share:.4f} on {count} validation images; no artifact written")
        run.finish()
        return None
    network.cpu()
    drop_auxiliary(network)
    return _subject(task, network, run, compute.name)


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


def _train(
    task: Task,
    network: nn.Module,
    batches: Batches,
    compute: Compute,
    console: Console,
    only: Collection[str] | None = None,
) -> Run:
    """Train all of *network*, or the parameters *only*; return the folder of the training."""
    settings, recipe, name = task.settings, task.recipe, task.settings.model_name
    if only is not None:
        recipe, name = dataclasses.replace(recipe, epochs=settings.head_epochs), f"{name}-head"
    run = Run(settings.runs / name, _identity(task, recipe, batches))
    if run.epochs:
        console.print(f"resuming after epoch {len(run.epochs)} of {recipe.epochs}")
    freeze_except(network, only)
    try:
        with progress.shown(console, recipe.epochs) as report:
            train(
                network,
                batches,
                recipe,
                seed=settings.seed,
                compute=compute,
                run=run,
                report=report,
                watch=_watch(task, network, compute),
            )
    except RuntimeError as error:
        raise _explained(error, settings.workers) from error
    except KeyboardInterrupt:
        if run.epochs:
            console.print(f"run the same command again to resume after epoch {len(run.epochs)}")
        raise
    finally:
        if compute.is_first:
            run.draw(name)
    freeze_except(network, None)
    return run


def _explained(error: RuntimeError, workers: int) -> Exception:
    """Return *error*, or a line about a worker process that ended, whose text torch leaves open."""
    if not str(error).startswith("DataLoader worker"):
        return error
    return TrainingError(
        f"one of the {workers} processes that decode photographs was killed ({error}): memory or "
        "shared memory (/dev/shm) may be short; give fewer --workers, or 0 to decode without them"
    )


def _identity(task: Task, recipe: Recipe, batches: Batches) -> Mapping[str, object]:
    """Return the facts that a checkpoint must share with a training that resumes from it."""
    return {
        "architecture": task.settings.architecture,
        "recipe": dataclasses.asdict(recipe),
        "data": task.data_set.name,
        "images": len(task.split),
        "labels": task.data_set.labels,
        "weights": task.weights and (task.weights.source, task.weights.sha256),
        "head_epochs": task.settings.head_epochs,
        "seed": task.settings.seed,
        "steps": batches.steps,
    }


def _watch(task: Task, network: nn.Module, compute: Compute) -> Watch | None:
    if task.watched is None:
        return None
    spec = task.recipe.preprocessing
    labels = torch.from_numpy(task.watched.labels)
    normalize = Normalize(task.recipe.mean, task.recipe.std).to(compute.device)

    def watch() -> tuple[float, float]:
        assert task.watched is not None
        with torch.inference_mode():
            logits = torch.cat(
                [
                    network(normalize(torch.from_numpy(pixels).to(compute.device))).cpu()
                    for pixels in task.watched.batches(spec)
                ]
            )
        return float(F.cross_entropy(logits, labels)), accuracy(
            logits.numpy(), task.watched.labels, top=1
        )

    return watch


def _subject(task: Task, network: nn.Module, run: Run, device: str) -> Subject:
    recipe, data_set, weights = task.recipe, task.data_set, task.weights
    return Subject(
        architecture=task.settings.architecture,
        network=network,
        labels=data_set.labels,
        preprocessing=recipe.preprocessing,
        mean=recipe.mean,
        std=recipe.std,
        training=manifest.Training(
            data=data_set.name,
            data_source=data_set.source,
            images=len(task.split),
            seed=task.settings.seed,
            recipe=record(recipe),
            device=device,
        ),
        weights=None if weights is None else weights.record(),
        tests=tuple(
            (f"{name}, test part", split)
            for name, split in {data_set.name: data_set.test, **data_set.extra_tests}.items()
        ),
        skipped_images=data_set.skipped,
        calibration=data_set.train,
        run=run,
    )
