"""The two kinds of accuracy: measured here on some data, or published on ImageNet.

A `Series` holds accuracies that one figure may show: of one kind, on the same images.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from convoy.artifact.manifest import Evaluation
from convoy.commands.compare.comparison_data import Comparison, Network
from convoy.commands.compare.published import IMAGES


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
                score = _score(network, evaluation, _title(evaluation))
                found.setdefault(score.source, []).append(score)
    series = []
    for title, scores in found.items():
        names = {score.name for score in scores}
        missing = (network.name for network in comparison.networks if network.name not in names)
        series.append(Series(title, tuple(scores), tuple(missing)))
    # Most models first: figures with room for one series show that one.
    return sorted(series, key=lambda one: -len(one.scores))


def published(comparison: Comparison) -> Series:
    """Return the accuracies published on ImageNet; of other weights, one per architecture."""
    by_model = {network.name: published_of(network) for network in comparison.networks}
    found = [score for score in by_model.values() if score]
    own = [score for score in found if score.of_these_weights]
    others = {score.architecture: score for score in found if not score.of_these_weights}
    # A figure of the very weights replaces that of other weights of its architecture.
    for score in own:
        others.pop(score.architecture, None)
    missing = tuple(name for name, score in by_model.items() if not score)
    return Series("published on ImageNet, one central crop", (*own, *others.values()), missing)


def published_of(network: Network) -> Score | None:
    """
    Return the accuracy published on ImageNet, of these weights if it is known, else of others.

    An accuracy of other weights comes with the parameters and operations of their network, which
    differ from those of a model for other classes or smaller images.
    """
    for evaluation in network.evaluations:
        if evaluation.origin == "published" and evaluation.data.startswith("ImageNet"):
            by = evaluation.attribution.removeprefix("published by ")
            return _score(network, evaluation, f"{by} (these weights)")
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


def _title(evaluation: Evaluation) -> str:
    return f"measured here on {evaluation.data}, {evaluation.images:,} images"


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
