"""One import from beginning to end: file, signature, artifact, summary."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from convoy.artifact.baseline import MIN_IMAGES
from convoy.artifact.manifest import MODEL_NAME, Manifest, macs_text
from convoy.artifact.stores import open_repository
from convoy.export.data.held_out import HeldOut, load_unseen
from convoy.export.errors import DataError, GraphError
from convoy.export.importing import reference
from convoy.export.importing.facts import Facts
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.import_writer import write
from convoy.export.importing.metadata import complete, graph_in, model_name_in
from convoy.export.importing.outputs import complete_outputs
from convoy.export.importing.signature import fix_size, read_signature
from convoy.export.onnx.source import read


def import_model(settings: ImportSettings, console: Console) -> str:
    """
    Prove and write one artifact of an ONNX file; report findings to *console*.

    Returns:
        The folder of the new version, or its URL.

    Raises:
        ExportError: If the file is not a classifier that can be served, or the labels, images or
            settings do not fit it.
        RepositoryError: If the artifact cannot be written.
    """
    name = settings.name or _name(settings.file)
    # A model that MLflow logged is a folder.
    if settings.file.is_dir():
        settings = settings.model_copy(update={"file": graph_in(settings.file)})
    repository = open_repository(settings.model_repository, report=console.print)
    repository.check_writable(name)  # before the work, not after it
    try:
        facts = _gather(settings, console)
        with repository.writing(name) as (folder, number):
            manifest = write(facts, name, number, folder, console)
    except ValidationError as error:  # such as a name in the graph that is not text
        raise GraphError(
            f"{settings.file}: no manifest can describe it: {_first(error)}"
        ) from error
    location = repository.location(name, number)
    _print_summary(manifest, location, console)
    return location


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def _name(file: Path) -> str:
    """Return a model's name made of the file's; `ResNet 50 (v2).onnx` gives `resnet-50-v2`."""
    text = file.stem
    if file.is_dir():
        graph_in(file)  # else the name is no concern
        text = model_name_in(file) or file.resolve().name
    # At most 64 characters, which is a name's limit.
    name = re.sub(r"[^a-z0-9_.]+", "-", text.lower()).strip("-_.")[:64]
    if not re.fullmatch(MODEL_NAME, name):
        raise GraphError(
            f"no model name can be made from the file name {file.name!r}: choose one with --name, "
            "such as --name my-model"
        )
    return name


def _gather(settings: ImportSettings, console: Console) -> Facts:
    # Refuse too few images before the work, not after it.
    unseen = None if settings.data is None else _unseen(settings.data)
    source = read(settings.file)
    completion = complete(settings, source)
    for note in completion.notes:
        console.print(note)
    settings = completion.settings
    try:
        signature = read_signature(source, settings)
    except GraphError as error:
        raise GraphError(f"{error}{completion.advice}") from error
    fix_size(source, signature.tensor)
    files = reference.find_images(settings.golden)
    outputs = complete_outputs(source, settings.output)
    return Facts(
        settings=settings,
        source=source,
        signature=signature,
        outputs=outputs,
        labels=completion.labels or outputs.labels,
        advice=completion.advice,
        images=reference.make_inputs(signature, files),
        given=len(files),
        unseen=unseen,
    )


def _unseen(name: str) -> HeldOut:
    unseen = load_unseen(name)
    if (count := len(unseen.images)) < MIN_IMAGES:
        raise DataError(
            f"{unseen.name} has {count} images, and the baseline of drift needs {MIN_IMAGES}: give "
            "more, or leave out --data"
        )
    return unseen


def _print_summary(manifest: Manifest, location: str, console: Console) -> None:
    assert manifest.memory is not None
    memory, tensor = manifest.memory, manifest.input
    outputs = (
        f"{output.name} ({output.kind}, {output.dtype} "
        f"[{', '.join(['N', *map(str, manifest.item_shape(output))])}])"
        for output in manifest.outputs
    )
    facts = {
        "artifact": location,
        "model": f"{manifest.name} version {manifest.version}",
        "classes": len(manifest.labels),
        "input": f"{tensor.dtype} [N, {', '.join(map(str, tensor.item_shape))}] {tensor.layout}",
        "outputs": ", ".join(outputs),
        "images": manifest.preprocessing.description,
        "normalisation": f"by the {manifest.normalization.where}, mean "
        f"{_numbers(manifest.normalization.mean)}, std {_numbers(manifest.normalization.std)}",
        "parameters": f"{manifest.parameter_count:,}",
        "MACs per image": macs_text(manifest.macs),
        "memory": f"weights {memory.weights_bytes / 1e6:.2f} MB, "
        f"arena {memory.arena_peak_bytes / 1e6:.2f} MB at batch {memory.batch_size}",
        "SHA-256": manifest.model_sha256,
    }
    for name, fact in facts.items():
        console.print(f"{name:16}{fact}")


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
