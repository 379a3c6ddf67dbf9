"""`convoy tune` from its settings to the file beside each model."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from convoy.artifact.files import Artifact
from convoy.artifact.repository import ModelRepository
from convoy.artifact.tuning import Choice, Machine, Tuning, write_tuning
from convoy.commands.measurement.artifacts import read_newest
from convoy.commands.measurement.progress import progress_bar
from convoy.commands.measurement.tables import print_numbers
from convoy.commands.output_files import prepare, prepare_beside_graph
from convoy.commands.tune.trials import Trials, choose, measure, request_p99_ms
from convoy.commands.tune.tune_settings import TuneSettings
from convoy.commands.tune.versions import Tuned, origin, recommendation, rows, with_relatives
from convoy.consoles import plain_console
from convoy.service.machine.resources import usable_cpus
from convoy.service.runtime.device import Cpu, Device, Gpu


def tune(settings: TuneSettings) -> int:
    """
    Measure, print, choose, draw and write the settings of one model after the other.

    The versions of these models in other precisions are tuned, too, and one of them recommended.

    Returns:
        The exit code: 1 if no setting of some model meets the bound, so that none was written.

    Raises:
        RepositoryError: If there is no such model.
        ArtifactError: If one is damaged.
        ModelLoadError: If one cannot be opened.
        OSError: If a file cannot be written.
    """
    prepare(settings.plot)
    asked = read_newest(ModelRepository(settings.model_repository), settings.models)
    artifacts = with_relatives(settings.model_repository, asked)
    for artifact in () if settings.dry_run else artifacts:
        prepare_beside_graph(artifact.model_path.parent)
    console = plain_console()
    plots = _plots(settings.plot, artifacts)
    tuned = [
        Tuned(artifact.manifest, chosen)
        for artifact, plot in zip(artifacts, plots, strict=True)
        if (chosen := _tune(artifact, settings, plot, console))
    ]
    for source in dict.fromkeys(origin(artifact.manifest) for artifact in artifacts):
        _compare([one for one in tuned if origin(one.manifest) == source], console)
    # Every model is tuned, even if one of them does not meet the bound.
    return 0 if len(tuned) == len(artifacts) else 1


def _compare(tuned: list[Tuned], console: Console) -> None:
    """Print the versions of one float32 graph side by side, and which one to serve."""
    if len(tuned) > 1:
        columns = ["", "precision", "images/s", "p99 ms", "difference from float32"]
        print_numbers(columns, rows(tuned), console)
        console.print(recommendation(tuned))
        console.print()


def _tune(
    artifact: Artifact, settings: TuneSettings, plot: Path | None, console: Console
) -> Choice | None:
    """Tune one version and return the choice; None if no setting meets the bound."""
    machine, measured, left_out = _measure(artifact, settings)
    manifest = artifact.manifest
    chosen = choose(measured, settings.p99_ms)
    console.print(
        f"{manifest.name} version {manifest.version}, {manifest.precision}, on {machine.device}"
    )
    _print(measured, chosen, machine, console)
    for reason in dict.fromkeys(left_out):
        console.print(f"not measured: {reason}")
    if chosen is None:  # every setting exceeds the bound: keep an earlier tuning as it is
        console.print(
            f"nothing keeps {settings.p99_ms:g} ms for 99 of 100 requests: nothing is written; "
            "does anything else use the machine?"
        )
        return None
    tuning = Tuning(
        machine=machine,
        model_sha256=manifest.model_sha256,
        p99_ms=settings.p99_ms,
        chosen=chosen,
        measured=tuple(measured),
        made_at=datetime.now(UTC).replace(microsecond=0),
    )
    if plot:
        from convoy.commands.tune.tuning_figure import draw  # matplotlib takes a second to import

        draw(f"{manifest.name}, {manifest.precision}", tuning, plot)
        console.print(str(plot))
    if not settings.dry_run:
        write_tuning(artifact.model_path.parent, tuning)
        console.print(
            f"written beside {artifact.model_path}; the server uses it when it next loads the model"
        )
    console.print()
    return chosen


def _measure(artifact: Artifact, settings: TuneSettings) -> Trials:
    gpu = Gpu(tf32=settings.tf32, cuda_graphs=settings.cuda_graphs, tensorrt=settings.tensorrt)
    cpu = Cpu(provider=settings.cpu_provider, precision=settings.cpu_precision)
    device = Device(policy=settings.device, cores=usable_cpus(), cpu=cpu, gpu=gpu)
    with progress_bar(plain_console(stderr=True)) as show:
        return measure(
            artifact, device, p99_ms=settings.p99_ms, seconds=settings.seconds, show=show
        )


def _print(
    measured: list[Choice], chosen: Choice | None, machine: Machine, console: Console
) -> None:
    columns = ["", "provider", "threads", "runs at once", "batch", "images/s", "run ms", "run p99"]
    columns.append("p99 ms")
    print_numbers(columns, (_row(choice, chosen, machine) for choice in measured), console)


def _row(choice: Choice, chosen: Choice | None, machine: Machine) -> list[str]:
    return [
        "chosen" if choice is chosen else "",
        "" if machine.gpu else choice.runtime,
        str(choice.threads),
        str(machine.runs_at_once(choice.threads)),
        str(choice.batch_size),
        f"{choice.images_per_s:,.1f}",
        f"{choice.run_ms:,.2f}",
        f"{choice.run_p99_ms:,.2f}",
        f"{request_p99_ms(choice):,.2f}",
    ]


def _plots(path: Path | None, artifacts: Sequence[Artifact]) -> list[Path | None]:
    """Return the file of the figure of each version; with several, it names the version."""
    if path is None or len(artifacts) == 1:
        return [path] * len(artifacts)
    manifests = [artifact.manifest for artifact in artifacts]
    return [path.with_stem(f"{path.stem}-{one.name}-{one.version}") for one in manifests]
