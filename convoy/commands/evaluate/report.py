"""The results of `convoy evaluate`: a document for programs, and tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field
from rich.console import Console

from convoy.artifact.evaluation import ClassScore, DataEvaluation, Measured
from convoy.artifact.manifest import Part
from convoy.artifact.whole_files import write_whole
from convoy.commands.measurement.tables import print_numbers

SHOWN_CLASSES = 30
"""Classes in a table; of more, those with the lowest F1."""

SHOWN_CONFUSIONS = 10
"""Pairs of classes that are shown if the whole matrix is too wide."""

WIDEST_MATRIX = 12
"""Classes of the largest matrix that is printed whole."""


class ModelResult(Part):
    """The evaluation of one version of a model."""

    model: str
    version: int
    evaluation: DataEvaluation

    @property
    def title(self) -> str:
        """The model and its version, such as `lenet5:1`."""
        return f"{self.model}:{self.version}"


class Pair(Part):
    """
    McNemar's exact test of two models on the same images.

    Attributes:
        only_first: Number of images that only the first model is right about.
        only_second: Number of images that only the second model is right about.
        p_value: Probability of a difference at least as large if both were equally good.
    """

    only_first: int
    only_second: int
    p_value: float = Field(ge=0, le=1)


class Report(Part):
    """
    The results of one run.

    Attributes:
        notes: Warnings about the images, such as those that a model was trained on.
        pair: The comparison of two models; None for another number of them.
        written: Whether each result was kept beside its manifest.
    """

    schema_version: Literal[1] = 1
    results: tuple[ModelResult, ...]
    notes: tuple[str, ...] = ()
    pair: Pair | None = None
    written: bool = False

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        from io import StringIO

        console = Console(emoji=False, record=True, file=StringIO(), width=120)
        print_report(self, console)
        return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def write_json(report: Report, path: Path) -> None:
    """Write *report* to *path* as indented JSON."""
    write_whole(path, report.model_dump_json(indent=2) + "\n")


def print_report(report: Report, console: Console) -> None:
    """Print a row for each model, then each model's classes and confusions."""
    first = report.results[0].evaluation
    console.print(f"{first.images} images of {first.data}, SHA-256 {first.data_sha256[:12]}")
    if first.skipped:
        console.print(f"left out: {first.skipped} images that cannot be decoded")
    for note in report.notes:
        console.print(note)
    # With five classes or fewer, every answer is among the top five.
    has_top5 = any(result.evaluation.top5 for result in report.results)
    columns = ["model", "top-1 %", *(["top-5 %"] if has_top5 else []), "ECE", "images/s"]
    rows = (_row(result, has_top5=has_top5) for result in report.results)
    print_numbers(columns, rows, console)
    console.print("in brackets: 95 % intervals (Wilson); ECE: expected calibration error, 15 bins")
    for result in report.results:
        console.print(f"{result.title}: {result.evaluation.measured_with}")
        if result.evaluation.not_finite:
            console.print(
                f"{result.title}: the scores of {result.evaluation.not_finite} images are no "
                "numbers; they count as wrong"
            )
    if report.pair:
        _print_pair(report, report.pair, console)
    for result in report.results:
        _print_classes(result, console)
        _print_confusions(result, console)
    if report.written:
        console.print("\nwritten to evaluation.json beside each manifest")


def _row(result: ModelResult, *, has_top5: bool) -> list[str]:
    one = result.evaluation
    top5 = "" if one.top5 is None else _share(one.top5)
    return [
        result.title,
        _share(one.top1),
        *([top5] if has_top5 else []),
        f"{one.ece:.4f}",
        f"{one.images_per_s:,.1f}",
    ]


def _share(one: Measured) -> str:
    return f"{100 * one.share:.2f} ({100 * one.low:.2f}-{100 * one.high:.2f})"


def _print_pair(report: Report, pair: Pair, console: Console) -> None:
    first, second = (result.title for result in report.results)
    if pair.only_first == pair.only_second == 0:
        console.print(
            f"{first} and {second} are right about the same images: no difference to test"
        )
        return
    console.print(
        f"McNemar: only {first} is right about {pair.only_first} images, only {second} about "
        f"{pair.only_second}; p = {pair.p_value:.3g}"
        + ("" if pair.p_value < 0.05 else ": the difference may be due to chance")
    )


def _print_classes(result: ModelResult, console: Console) -> None:
    classes: Sequence[ClassScore] = result.evaluation.classes
    note = ""
    if len(classes) > SHOWN_CLASSES:
        measured = (one for one in classes if one.f1 is not None)
        classes = sorted(measured, key=lambda one: one.f1 or 0)[:SHOWN_CLASSES]
        note = f", the {len(classes)} with the lowest F1"
    console.print(f"\n{result.title}, by class{note}")
    rows = (
        [one.label, str(one.images), *map(_percent, (one.precision, one.recall, one.f1))]
        for one in classes
    )
    print_numbers(["class", "images", "precision %", "recall %", "F1 %"], rows, console)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _print_confusions(result: ModelResult, console: Console) -> None:
    """Print the matrix, or the most frequent confusions of many classes."""
    evaluation = result.evaluation
    labels = [one.label for one in evaluation.classes]
    if len(labels) <= WIDEST_MATRIX:
        found = {(true, given): count for true, given, count in evaluation.confusion}
        console.print(f"\n{result.title}, confusion matrix: a row for each true class")
        matrix = (
            [label, *(str(found.get((true, given), "")) for given in range(len(labels)))]
            for true, label in enumerate(labels)
        )
        print_numbers(["", *labels], matrix, console)
        return
    wrong = [entry for entry in evaluation.confusion if entry[0] != entry[1]]
    most = sorted(wrong, key=lambda entry: (-entry[2], entry))[:SHOWN_CONFUSIONS]
    console.print(f"\n{result.title}, most frequent confusions")
    rows = ([f"{labels[true]} as {labels[given]}", str(count)] for true, given, count in most)
    print_numbers(["class", "images"], rows, console)
