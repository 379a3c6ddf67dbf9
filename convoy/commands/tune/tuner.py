"""`convoy tune` from its settings to the file beside each model."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from convoy.artifact.files import Artifact
from convoy.artifact.tuning import Choice, Machine, Tuning, write_tuning
from convoy.commands.measurement.artifacts import read_newest
from convoy.commands.measurement.progress import progress_bar
from convoy.commands.measurement.tables import print_numbers
from convoy.commands.output_files import prepare
from convoy.commands.tune.trials import choose, measure, request_p99_ms
from convoy.commands.tune.tune_settings import TuneSettings
from convoy.service.machine.resources import usable_cpus
from convoy.service.runtime.device import Device, Gpu


def tune(settings: TuneSettings) -> int:
    """
    Measure, print, choose, draw and write the settings of one model after the other.

    Returns:
        The exit code: 1 if no setting of some model meets the bound, so that none was written.

    Raises:
        RepositoryError: If there is no such model.
        ArtifactError: If one is damaged.
        ModelLoadError: If one cannot be opened.
        OSError: If a file cannot be written.
    """
    prepare(settings.plot)
    artifacts = read_newest(settings.model_repository, settings.models)
    console = Console(highlight=False, markup=False)
    # 1 of any model wins over 0 of the others, but every model is tuned.
    return max(_tune(artifact, settings, console) for artifact in artifacts)


def _tune(artifact: Artifact, settings: TuneSettings, console: Console) -> int:
    machine, measured = _measure(artifact, settings)
    manifest = artifact.manifest
    chosen = choose(measured, settings.p99_ms)
    console.print(
        f"{manifest.name} version {manifest.version}, {manifest.precision}, on {machine.device}"
    )
    _print(measured, chosen, machine, console)
    if chosen is None:  # every setting exceeds the bound: keep an earlier tuning as it is
        console.print(
            f"nothing keeps {settings.p99_ms:g} ms for 99 of 100 requests: nothing is written; "
            "does anything else use the machine?"
        )
        return 1
    tuning = Tuning(
        machine=machine,
        model_sha256=manifest.model_sha256,
        p99_ms=settings.p99_ms,
        chosen=chosen,
        measured=tuple(measured),
        made_at=datetime.now(UTC).replace(microsecond=0),
    )
    _write(artifact, tuning, settings, console)
    return 0


def _measure(artifact: Artifact, settings: TuneSettings) -> tuple[Machine, list[Choice]]:
    gpu = Gpu(tf32=settings.tf32, cuda_graphs=settings.cuda_graphs, tensorrt=settings.tensorrt)
    device = Device(policy=settings.device, cores=usable_cpus(), gpu=gpu)
    with progress_bar(Console(file=sys.stderr, highlight=False, markup=False)) as show:
        return measure(
            artifact, device, p99_ms=settings.p99_ms, seconds=settings.seconds, show=show
        )


def _write(artifact: Artifact, tuning: Tuning, settings: TuneSettings, console: Console) -> None:
    manifest = artifact.manifest
    if settings.plot:
        from convoy.commands.tune.tuning_figure import draw  # matplotlib takes a second to import

        path = _plot_path(settings.plot, manifest.name, alone=len(settings.models) == 1)
        draw(f"{manifest.name}, {manifest.precision}", tuning, path)
        console.print(str(path))
    if not settings.dry_run:
        write_tuning(artifact.model_path.parent, tuning)
        console.print(
            f"written beside {artifact.model_path}; the server uses it when it next loads the model"
        )
    console.print()


def _print(
    measured: list[Choice], chosen: Choice | None, machine: Machine, console: Console
) -> None:
    columns = ["", "threads", "runs at once", "batch", "images/s", "run ms", "run p99", "p99 ms"]
    print_numbers(columns, (_row(choice, chosen, machine) for choice in measured), console)


def _row(choice: Choice, chosen: Choice | None, machine: Machine) -> list[str]:
    return [
        "chosen" if choice is chosen else "",
        str(choice.threads),
        str(machine.runs_at_once(choice.threads)),
        str(choice.batch_size),
        f"{choice.images_per_s:,.1f}",
        f"{choice.run_ms:,.2f}",
        f"{choice.run_p99_ms:,.2f}",
        f"{request_p99_ms(choice):,.2f}",
    ]


def _plot_path(path: Path, name: str, *, alone: bool) -> Path:
    return path if alone else path.with_stem(f"{path.stem}-{name}")
