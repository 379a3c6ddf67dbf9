"""Which accuracy is which: measured here on some data, or published on ImageNet.

A `Series` holds what may stand in one figure: one kind of accuracy, on the same images.
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
    One accuracy, and the network that it is of.

    Attributes:
        name: The model's; the architecture's where it is of other weights.
        top1: Share of right answers, of *images*.
        source: By whom, on what.
        parameters: Of the network that was measured, as `macs`.
        of_these_weights: Whether it is of the very model in the repository.
    """

    name: str
    architecture: str
    top1: float
    images: int
    source: str
    parameters: int
    macs: int
    of_these_weights: bool = True

    @property
    def density(self) -> float:
        """Per cent of top-1 for each million parameters."""
        return 100 * self.top1 / (max(self.parameters, 1) / 1e6)


@dataclass(frozen=True, slots=True)
class Series:
    """
    Accuracies that can be compared.

    Attributes:
        title: What they are.
        missing: Models that have none.
    """

    title: str
    scores: tuple[Score, ...]
    missing: tuple[str, ...]


def measured(comparison: Comparison) -> list[Series]:
    """What was measured here, by the data; first the data that most models were measured on."""
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
    return sorted(series, key=lambda one: -len(one.scores))


def published(comparison: Comparison) -> Series:
    """What was published on ImageNet; other weights than those here once for each architecture."""
    by_model = {network.name: published_of(network) for network in comparison.networks}
    found = [score for score in by_model.values() if score]
    own = [score for score in found if score.of_these_weights]
    others = {score.architecture: score for score in found if not score.of_these_weights}
    for score in own:
        others.pop(score.architecture, None)
    missing = tuple(name for name, score in by_model.items() if not score)
    return Series("published on ImageNet, one central crop", (*own, *others.values()), missing)


def published_of(network: Network) -> Score | None:
    """
    What was published on ImageNet: of these weights if it is known, else of others.

    Of others it comes with their parameters and operations, which those of a model for other
    classes or smaller images are not.
    """
    for evaluation in network.evaluations:
        if evaluation.origin == "published" and evaluation.data.startswith("ImageNet"):
            by = evaluation.attribution.removeprefix("published by ")
            return _score(network, evaluation, f"{by} (these weights)")
    if network.published is None:
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
    """The sources of *scores*, numbered from 1."""
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
