"""One `convoy quantize` from its settings to the artifact and the report."""

from __future__ import annotations

from rich.console import Console

from convoy.artifact.errors import RepositoryError
from convoy.artifact.files import Artifact
from convoy.artifact.manifest import Manifest
from convoy.artifact.misnamed import NAME
from convoy.artifact.stores import Repository, check_newest
from convoy.export.errors import PrecisionError
from convoy.export.quantization import images
from convoy.export.quantization.int8_writer import write
from convoy.export.quantization.interface import Interface
from convoy.export.quantization.processor import choose_scheme, read_processor
from convoy.export.quantization.quantize_settings import QuantizeSettings
from convoy.export.quantization.quantizing import Material, quantize
from convoy.export.quantization.report import report
from convoy.export.quantization.verification import Bounds

FEW_IMAGES = 100
"""Number of images below which the ranges, or the comparison, are a guess."""


def quantize_model(
    repository: Repository, source: Artifact, settings: QuantizeSettings, console: Console
) -> str:
    """
    Convert *source* and write it to *repository*; report findings to *console*.

    Returns:
        The folder of the new version, or its URL.

    Raises:
        ExportError: If the model cannot be converted, or differs too much from float32 then.
        RepositoryError: If the artifact cannot be written, or another version has appeared.
    """
    _check_precision(source.manifest)
    target = _target(repository, source.manifest.name, settings)
    newest = max(repository.versions(target), default=0)
    material = _material(settings, source.manifest, console)
    processor = read_processor()
    scheme = choose_scheme(processor.features) if settings.scheme == "auto" else settings.scheme
    console.print(
        f"{scheme} on {processor.name} ({', '.join(processor.features) or 'features unknown'})"
    )
    quantized = quantize(
        source.model_path,
        Interface.of(source.manifest),
        material,
        scheme,
        Bounds(max_accuracy_loss=settings.max_accuracy_loss, min_agreement=settings.min_agreement),
        console,
    )
    with repository.writing(target) as (folder, number):
        check_newest(repository, target, newest)
        manifest = write(source, quantized, material, processor, target, number, folder)
        report(source, manifest, quantized, settings.seconds, console)
    location = repository.location(target, number)
    console.print(f"written to {location}")
    return location


def _check_precision(manifest: Manifest) -> None:
    if manifest.precision == "float32":
        return
    made = manifest.quantization
    source = (
        f"the model in float32 that it was made from, {made.source_model}:{made.source_version}"
        if made and made.source_model
        else "a model in float32"
    )
    raise PrecisionError(
        f"{manifest.name} version {manifest.version} is {manifest.precision} already: choose "
        f"{source}"
    )


def _target(repository: Repository, name: str, settings: QuantizeSettings) -> str:
    """
    Return the name of the model to write.

    Raises:
        RepositoryError: If it cannot be written, or a server may be polling a model of this name.
    """
    target = settings.name or (name if settings.as_next_version else f"{name}_int8")
    # Before the work, not after it.
    if not NAME.fullmatch(target):  # the suffix has made it too long
        raise RepositoryError(f"{target!r} is too long for the name of a model: give a --name")
    if repository.versions(target) and not settings.as_next_version:
        raise RepositoryError(
            f"{repository} holds {target} already: choose another --name, or write its next "
            "version with --as-next-version, to which a server that polls switches"
        )
    repository.check_writable(target)
    return target


def _material(settings: QuantizeSettings, manifest: Manifest, console: Console) -> Material:
    counts = settings.calibration_images, settings.test_images
    if settings.images:
        material = images.from_folder(settings.images, *counts)
    else:
        assert settings.data is not None  # the settings demand one of them
        material = images.from_data(settings.data, manifest, *counts, by_order=settings.by_order)
    used = len(material.calibration)
    console.print(f"ranges of activations from {used} images of {material.data}")
    if used < FEW_IMAGES:
        console.print(f"warning: few images for ranges ({used}); give a few hundred")
    compared = sum(len(test.images) for test in material.tests)
    if compared < FEW_IMAGES:
        console.print(
            f"warning: few images for a comparison ({compared}), in which one of them is "
            f"{100 / compared:.1f} %; give more"
        )
    return material
