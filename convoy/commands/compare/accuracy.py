"""The two kinds of accuracy: measured here on some data, or published on ImageNet.

A `Series` holds accuracies that one figure may show: of one kind, on the same images.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from convoy.artifact.manifest import Evaluation
from convoy.commands.compare.comparison_data import Comparison, Network
from convoy.commands.compare.published import IMAGES

IMAGENET = "ImageNet-1K, validation part"
"""Name of the data in manifests; accuracies on other sets of ImageNet's are not comparable."""

ON_IMAGENET = "published on ImageNet, one central crop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """
    One accuracy and the network that has it.

    Attributes:
        name: The name of the model; of the architecture, if the accuracy is that of other weights.
        top1: The share of *images* that were classified correctly.
        source: The author and the data, in words.
        parameters: The parameter count of the network that was measured.
        macs: The multiply-accumulates of that network for one image; None if they are not known.
        of_these_weights: Whether the accuracy is that of the weights in the repository.
    """

    name: str
    architecture: str
    top1: float
    images: int
    source: str
    parameters: int
    macs: int | None
    of_these_weights: bool = True

    @property
    def operations(self) -> int | None:
        """Two for each multiply-accumulate, for one image; None if they are not known."""
        return None if self.macs is None else 2 * self.macs

    @property
    def density(self) -> float:
        """The top-1 accuracy in percent for each million parameters."""
        return 100 * self.top1 / (max(self.parameters, 1) / 1e6)


@dataclass(frozen=True, slots=True)
class Series:
    """
    A set of accuracies that can be compared.

    Attributes:
        title: Their kind and data, in words.
        missing: The names of models that have none.
    """

    title: str
    scores: tuple[Score, ...]
    missing: tuple[str, ...]


def measured(comparison: Comparison) -> list[Series]:
    """Return the accuracies measured here, by data; the data of most models comes first."""
    found: dict[str, list[Score]] = {}
    for network in comparison.networks:
        for evaluation in network.evaluations:
            if evaluation.origin == "measured":
                score = _score(network, evaluation, _title(evaluation, network.name))
                found.setdefault(score.source, []).append(score)
    series = []
    for title, scores in found.items():
        names = {score.name for score in scores}
        missing = (network.name for network in comparison.networks if network.name not in names)
        series.append(Series(title, tuple(scores), tuple(missing)))
    # Most models first: figures with room for one series show that one.
    return sorted(series, key=lambda one: -len(one.scores))


def published(comparison: Comparison) -> list[Series]:
    """Return the accuracies published of models or architectures, by data; ImageNet comes first."""
    found: dict[str, list[Score]] = {IMAGENET: []}
    for network in comparison.networks:
        for evaluation in network.evaluations:
            if evaluation.origin == "published":
                by = evaluation.attribution.removeprefix("published by ")
                score = _score(network, evaluation, f"{by} (these weights)")
                found.setdefault(evaluation.data, []).append(score)
    own = {score.name for score in found[IMAGENET]}
    # Of other weights, once for each architecture that a model without an accuracy of its own has.
    others = {
        network.architecture: other
        for network in comparison.networks
        if network.name not in own and (other := published_of_others(network))
    }
    found[IMAGENET] += others.values()
    known = own | {n.name for n in comparison.networks if n.architecture in others}
    missing = tuple(n.name for n in comparison.networks if n.name not in known)
    first = Series(ON_IMAGENET, tuple(found.pop(IMAGENET)), missing)
    rest = (Series(f"published on {data}", tuple(some), ()) for data, some in found.items())
    return [series for series in (first, *rest) if series.scores]


def published_of_others(network: Network) -> Score | None:
    """
    Return the accuracy published on ImageNet of other weights of this architecture, if any.

    It comes with the parameters and operations of their network, which differ from those of a
    model for other classes or smaller images.
    """
    if network.published is None:  # nobody published one for this architecture
        return None
    return Score(
        name=network.architecture,
        architecture=network.architecture,
        top1=network.published.top1,
        images=IMAGES,
        source=network.published.source,
        parameters=network.published.parameters,
        macs=network.published.macs,
        of_these_weights=False,
    )


def numbered(scores: Iterable[Score]) -> dict[str, int]:
    """Return the numbers of the sources of *scores*, from 1."""
    return {
        source: number
        for number, source in enumerate(dict.fromkeys(score.source for score in scores), start=1)
    }


def _title(evaluation: Evaluation, name: str) -> str:
    """Return the kind and the data of an accuracy: those with the same title can be compared."""
    title = f"measured here on {evaluation.data}, {evaluation.images:,} images"
    # A data set that has a name of its own always has the same images; a folder need not.
    if not evaluation.data.startswith("folder:"):
        return title
    if evaluation.data_sha256 is None:
        return f"{title} of {name}, which other images may share the name with"
    return f"{title}, SHA-256 {evaluation.data_sha256[:12]}"


def _score(network: Network, evaluation: Evaluation, source: str) -> Score:
    return Score(
        name=network.name,
        architecture=network.architecture,
        top1=evaluation.top1,
        images=evaluation.images,
        source=source,
        parameters=network.parameters,
        macs=network.macs,
    )
