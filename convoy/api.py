"""The functions that train, export and evaluate models from Python, with the flags of the commands.

`from convoy import train, export_model, evaluate, list_models` imports them when they are first
used. They need what their commands need: PyTorch for the first two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from convoy.api_results import ExportedModel, TrainingRun
from convoy.commands.command_line import UsageError
from convoy.commands.evaluate.evaluate_settings import DataPart, EvaluateSettings
from convoy.commands.evaluate.report import Report
from convoy.commands.problems import describe
from convoy.consoles import plain_console
from convoy.defaults import ADDRESS
from convoy.export.export_settings import ExportSettings
from convoy.export.recipes import NETWORKS
from convoy.options import Options

S = TypeVar("S", bound=Options)


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the architectures that match *pattern*, such as `resnet*`."""
    return [name for name in NETWORKS if fnmatchcase(name, pattern)]


def train(
    architecture: str,
    *,
    data: str | None = None,
    skip_bad_images: bool = False,
    weights: str | Path | None = None,
    seed: int = 0,
    epochs: int = 0,
    head_epochs: int = 0,
    early_stopping: int = 0,
    train_on_validation: bool = False,
    balance_classes: Literal["no", "weights", "sampler"] = "no",
    batch_size: int = 0,
    learning_rate: float = 0,
    input_px: int = 0,
    scaled_decoding: bool = True,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    mixed_precision: bool = True,
    workers: int = 2,
    runs: str | Path = "runs",
    track: Sequence[Literal["tensorboard", "mlflow"]] = (),
    name: str | None = None,
    quiet: bool = False,
) -> TrainingRun:
    """
    Train a network and keep its best and its last weights in the folder *runs*.

    The arguments are the flags of `convoy export`. A training that was interrupted is resumed by
    the same call.

    Args:
        quiet: Print nothing.

    Raises:
        ExportError: If data or weights are not available, the folder has an unfinished training
            with other options, or the training diverges.
        ValueError: If arguments are out of range or contradict each other.
    """
    from convoy.export.exporter import train as run

    settings = _settings(ExportSettings, locals())
    # `export_model` takes such weights as they are.
    if settings.only_weights:
        raise ValueError("weights: a training that begins with them needs images; give data")
    return TrainingRun(run(settings, plain_console(soft_wrap=True, quiet=quiet)))


def export_model(
    source: str | Path | TrainingRun,
    *,
    data: str | None = None,
    skip_bad_images: bool = False,
    weights: str | Path | None = None,
    labels: str | Path | None = None,
    seed: int = 0,
    epochs: int = 0,
    head_epochs: int = 0,
    early_stopping: int = 0,
    train_on_validation: bool = False,
    balance_classes: Literal["no", "weights", "sampler"] = "no",
    batch_size: int = 0,
    learning_rate: float = 0,
    input_px: int = 0,
    scaled_decoding: bool = True,
    resize: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    precision: Literal["float32", "fp16", "int8"] = "float32",
    evaluation_data: str | None = None,
    max_accuracy_loss: float = 0.5,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    mixed_precision: bool = True,
    workers: int = 2,
    model_repository: str | Path = "model_repository",
    runs: str | Path = "runs",
    track: Sequence[Literal["tensorboard", "mlflow"]] = (),
    name: str | None = None,
    quiet: bool = False,
) -> ExportedModel:
    """
    Write a model for the server: of a training, of public weights, or of a training that it starts.

    The arguments are the flags of `convoy export`.

    Args:
        source: A training that `train` returned; the folder of a training, or a file of weights
            in it, as a `Path` or a string with a `/`; or the name of an architecture.
        quiet: Print nothing.

    Raises:
        ExportError: If data or weights are not available, the proof fails, or too much accuracy is
            lost.
        RepositoryError: If the model cannot be written.
        ValueError: If arguments are out of range or contradict each other.
    """
    from convoy.export.exporter import export

    options = locals()
    # `lenet5` could be a network or a folder: a string without a slash names a network.
    if isinstance(source, str) and "/" not in source:
        options["architecture"] = source
    else:
        options["from_run"] = source.folder if isinstance(source, TrainingRun) else Path(source)
    written = export(
        _settings(ExportSettings, options, architecture="source"),
        plain_console(soft_wrap=True, quiet=quiet),
    )
    assert written is not None  # without --validate-only, and in one process
    return ExportedModel(*written)


def evaluate(
    *models: str | ExportedModel,
    data: str,
    part: DataPart | None = None,
    by_order: bool = False,
    skip_bad_images: bool = False,
    model_repository: str | Path = "model_repository",
    write: bool = False,
    json_file: str | Path | None = None,
    figures: str | Path | None = None,
    format: Literal["png", "svg"] = "png",
    timeout_s: float = 60.0,
    address: str = ADDRESS,
    token: str = "",
    tls: bool = False,
    tls_ca: str | Path | None = None,
    client_certificate: str | Path | None = None,
    client_key: str | Path | None = None,
    quiet: bool = True,
) -> Report:
    """
    Measure how well models classify images whose classes are known.

    The arguments are the flags of `convoy evaluate`; an *address* other than the default one means
    a server.

    Args:
        models: Names, `NAME:VERSION`, or what `export_model` returned; all of one repository.
        quiet: Print nothing.

    Raises:
        RepositoryError: If there is no such model.
        ArtifactError: If one is damaged.
        ExportError: If the data is not available or does not fit a model.
        ConvoyError: If the server cannot be reached or refuses a call.
        UsageError: If the arguments do not fit the models.
    """
    from convoy.commands.evaluate.evaluator import evaluate as run

    options = locals()
    exported = {model.repository for model in models if isinstance(model, ExportedModel)}
    if exported:
        options["model_repository"] = _only_repository(exported, str(model_repository))
    options["models"] = [model if isinstance(model, str) else model.title for model in models]
    return run(_settings(EvaluateSettings, options), plain_console(soft_wrap=True, quiet=quiet))


def _only_repository(exported: Set[str], given: str) -> str:
    """
    Return the repository of the models that were exported, where their names are looked up.

    Args:
        given: The argument; the default one says nothing.

    Raises:
        UsageError: If there are several: a name would mean the model of another one.
    """
    default = EvaluateSettings.model_fields["model_repository"].default
    roots = exported | ({given} if given != str(default) else set())
    real = sorted({root if "://" in root else str(Path(root).resolve()) for root in roots})
    if len(real) > 1:
        raise UsageError(
            f"the models are in several repositories, {real[0]} and {real[1]}: evaluate those of "
            "one at a time"
        )
    return min(exported)


def _settings(kind: type[S], options: Mapping[str, Any], **names: str) -> S:
    """
    Return the settings that differ from their defaults, as if they were given as flags.

    Args:
        names: Names of arguments that differ from the names of their settings.

    Raises:
        ValueError: If a value is invalid; the message is the one that the command prints.
    """
    given = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in options.items()
        if name in kind.model_fields and _plain(value) != _plain(kind.model_fields[name].default)
    }
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        shown = {name: names.get(name, name) for name in kind.model_fields}
        raise ValueError("\n".join(describe(error, shown, set()))) from None


def _plain(default: Any) -> Any:
    """Return a default of settings as the functions here have it."""
    if isinstance(default, Path):
        return str(default)
    # An argument's default must not be a list, which a call could change.
    if isinstance(default, list):
        return tuple(default)
    secret = getattr(default, "get_secret_value", None)
    return secret() if secret else default
