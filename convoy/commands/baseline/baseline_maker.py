"""`convoy baseline` from its settings to its file."""

from __future__ import annotations

import sys
from pathlib import Path

from convoy.artifact.baseline import BASELINE_FILE, write_baseline
from convoy.artifact.repository import ModelRepository
from convoy.commands.baseline.baseline_settings import BaselineSettings
from convoy.commands.evaluate.answers import refuse_bad
from convoy.commands.evaluate.labelled_images import load_images
from convoy.commands.evaluate.models import read_model
from convoy.commands.measurement.progress import progress_bar
from convoy.commands.output_files import prepare_beside_graph
from convoy.consoles import plain_console
from convoy.export.baseline import measure


def make_baseline(chosen: BaselineSettings) -> Path:
    """
    Measure the baseline of a model, and write it beside the manifest.

    Returns:
        The file.

    Raises:
        RepositoryError: If there is no such model.
        ArtifactError: If it is damaged.
        ExportError: If the data is not available, or has too few images.
        UsageError: If the part of the data must be chosen.
        OSError: If the file cannot be written.
    """
    artifact = read_model(ModelRepository(chosen.model_repository), chosen.model)
    manifest, folder = artifact.manifest, artifact.model_path.parent
    prepare_beside_graph(folder)  # before the work, not after it
    images = load_images(chosen.data, chosen.part, [manifest])
    for note in images.notes:
        print(note, file=sys.stderr)
    title = f"{manifest.name}:{manifest.version}"
    # A line for each batch would fill a log.
    is_terminal = sys.stderr.isatty()
    with progress_bar(plain_console(stderr=True)) as bar:
        bar(title, 0, len(images.images))
        baseline, bad = measure(
            artifact.model_path,
            manifest,
            images.images,
            name=images.name,
            sha256=images.sha256,
            show=lambda done, total: bar(title, done, total) if is_terminal else None,
        )
    names = [str(one) if isinstance(one, Path) else "an image" for one in images.images.sources]
    refuse_bad(images.images, names, bad, skip=chosen.skip_bad_images)
    write_baseline(folder, baseline)
    return folder / BASELINE_FILE
