"""The versions of a model in float32 and int8 that `convoy tune` compares, and the one to serve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from convoy.artifact.errors import ArtifactError
from convoy.artifact.files import Artifact, read_manifest
from convoy.artifact.manifest import Manifest
from convoy.artifact.repository import ModelRepository
from convoy.artifact.tuning import Choice
from convoy.commands.tune.trials import NOISE, request_p99_ms


@dataclass(frozen=True, slots=True)
class Tuned:
    """A version that was measured, and the best way to run it."""

    manifest: Manifest
    chosen: Choice

    @property
    def title(self) -> str:
        """Its name and version, as commands take them."""
        return f"{self.manifest.name}:{self.manifest.version}"

    @property
    def precision(self) -> str:
        """The number format of its arithmetic, and the provider if it is not ONNX Runtime's own."""
        chosen, own = self.chosen, self.manifest.precision
        if chosen.provider == "onnxruntime":
            return own
        return f"{chosen.precision if own == 'float32' else own}, {chosen.provider}"


def origin(manifest: Manifest) -> str:
    """Return the SHA-256 of the float32 graph that a version is, or was converted from."""
    return manifest.quantization.source_sha256 if manifest.quantization else manifest.model_sha256


def with_relatives(root: Path, artifacts: Sequence[Artifact]) -> list[Artifact]:
    """
    Return *artifacts*, and the versions in *root* of the same float32 graphs in other precisions.

    Raises:
        ArtifactError: If one of these is damaged.
    """
    repository = ModelRepository(root)
    found = {(a.manifest.name, a.manifest.precision, origin(a.manifest)): a for a in artifacts}
    origins = {origin(artifact.manifest) for artifact in artifacts}
    graphs = {artifact.manifest.model_sha256 for artifact in artifacts}
    asked = {artifact.manifest.name for artifact in artifacts}
    for manifest in _manifests(root, repository, asked):
        # The same graph under another name is as fast.
        is_same = manifest.quantization is None and manifest.model_sha256 in graphs
        if is_same and manifest.name not in asked:
            continue
        key = (manifest.name, manifest.precision, origin(manifest))
        if key[-1] in origins and key not in found:
            found[key] = repository.read(manifest.name, manifest.version)
    return list(found.values())


def _manifests(root: Path, repository: ModelRepository, asked: set[str]) -> Iterator[Manifest]:
    """Yield the newest manifest of each model, and all of those that were *asked* for."""
    for name in repository.names():
        versions = repository.versions(name)[::-1]
        # With `convoy quantize --as-next-version`, the float32 version is an older one.
        for version in versions if name in asked else versions[:1]:
            try:
                yield read_manifest(root / name / str(version))
            # A version that cannot be read cannot be served, so it is no candidate. A repository
            # that is itself an artifact has no such folder.
            except ArtifactError:
                continue


def rows(tuned: Sequence[Tuned]) -> Iterator[list[str]]:
    """Yield a row of the comparison for each version."""
    for one in tuned:
        yield [
            one.title,
            one.precision,
            f"{one.chosen.images_per_s:,.1f}",
            f"{request_p99_ms(one.chosen):,.2f}",
            _difference(one.manifest),
        ]


def recommendation(tuned: Sequence[Tuned]) -> str:
    """
    Return which of these versions of one float32 graph to serve, and the reason.

    Args:
        tuned: At least two.
    """
    best = max(tuned, key=lambda one: one.chosen.images_per_s)
    before = next((one for one in tuned if one.manifest.precision == "float32"), None)
    # The float32 version did not meet the bound, or has been removed.
    if before is None:
        return f"serve {best.title}: it answers most images within the bound"
    others = [one for one in tuned if one is not before]
    rival = max(others, key=lambda one: one.chosen.images_per_s)
    ratio = rival.chosen.images_per_s / before.chosen.images_per_s
    # If both are equally fast, float32 has the better accuracy.
    if best is before or ratio < 1 + NOISE:
        return (
            f"serve {before.title}: {rival.title} in {rival.manifest.precision} answers "
            f"{ratio:.2f} times its images/s"
        )
    difference = _difference(best.manifest)
    return f"serve {best.title}: {ratio:.2f} times the images/s of {before.title}" + (
        f"; {difference}" if difference else ""
    )


def _difference(manifest: Manifest) -> str:
    """Return how the answers of a converted version differ from float32; empty for others."""
    if manifest.quantization is None or not manifest.quantization.comparisons:
        return ""
    found = manifest.quantization.comparisons[0]
    if found.accuracy_loss is None:
        return f"the same class for {found.agreement:.1f} % of {found.images} images"
    return f"{-found.accuracy_loss:+.2f} points of accuracy on {found.images} images"
