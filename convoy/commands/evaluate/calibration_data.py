"""Notes on images that the temperature of a model was fitted on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convoy.artifact.manifest import Manifest
from convoy.commands.evaluate.labelled_images import LabelledImages, load_images
from convoy.export.errors import DataError


def calibration_notes(
    text: str, images: LabelledImages, manifests: Sequence[Manifest]
) -> Iterator[str]:
    """
    Yield a line for each model whose temperature was fitted on some of *images*.

    These are recognised by hash: the images, their first half, and parts of the data with their
    first halves, which are the sets that `convoy calibrate` chooses from.

    Args:
        text: The name of the data set of *images*, such as `folder:photos`.

    Raises:
        DataError: If an image cannot be read.
    """
    if not any(manifest.calibration for manifest in manifests):
        return
    sets = [images, *_parts(text, images)]
    hashes = {each.sha256 for one in sets for each in (one, one.halves()[0])}
    for manifest in manifests:
        fitted = manifest.calibration
        if fitted and fitted.data_sha256 in hashes:
            yield (
                f"note: the temperature of {manifest.name}:{manifest.version} was fitted on "
                f"{fitted.images} of these {len(images.images)} images; expect a higher ECE on "
                "new images"
            )


def _parts(text: str, images: LabelledImages) -> list[LabelledImages]:
    """Return the parts of the data that a temperature can be fitted on; none for one part."""
    if images.part != "all":
        return []
    try:
        return [load_images(text, part, ()) for part in ("validation", "test")]
    except DataError:  # too few images to be divided
        return []
