"""Every figure is readable, has the colours of the table, and is the same file each time."""

import dataclasses
import itertools
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from convoy.artifact.evaluation import Bin, ClassScore, DataEvaluation, Measured
from convoy.artifact.tuning import Choice, Machine, Tuning
from convoy.commands.bench import load_figure
from convoy.commands.bench.load_results import PERCENTILES, Report, Step
from convoy.commands.evaluate import figures as evaluate_figures
from convoy.commands.evaluate.report import ModelResult
from convoy.commands.evaluate.report import Report as EvaluateReport
from convoy.commands.tune import tuning_figure
from convoy.export.training.epoch_log import Epoch
from convoy.export.training.learning_curves import curves
from convoy.figures import families, style
from tests.harness import drawn

PAGE = Path("service/web")

# Linear RGB as seen with each deficiency (Machado, Oliveira, Fernandes, 2009, severity 1.0).
SIGHTS = {
    "normal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(color: str) -> np.ndarray:
    """Return linear RGB in [0, 1] (IEC 61966-2-1)."""
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Return CIELAB of linear RGB, with the white of D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ rgb / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def palettes() -> list[list[str]]:
    """Return the page's colours of families, in light and in dark."""
    found = re.findall(r"--family-(\d): (#[0-9a-f]{6});", (PAGE / "colors.css").read_text())
    assert [number for number, _ in found] == [*"0123456701234567"]
    shades = [shade for _, shade in found]
    return [shades[:8], shades[8:]]


@pytest.mark.parametrize("palette", palettes(), ids=["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_families_are_told_apart(sight: str, palette: list[str]) -> None:
    """
    Any two colours differ clearly, also for the colour-blind.
    """
    seen = [lab(np.clip(np.array(SIGHTS[sight]) @ linear(shade), 0, 1)) for shade in palette]
    nearest = min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2))
    assert nearest >= 25


@pytest.mark.parametrize(
    ("palette", "ground"), list(zip(palettes(), ("#ffffff", "#171e27"), strict=True))
)
def test_families_stand_out(palette: list[str], ground: str) -> None:
    """
    Each colour has the contrast with its ground that WCAG asks of graphics.
    """
    for shade in palette:
        low, high = sorted(
            float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (shade, ground)
        )
        assert (high + 0.05) / (low + 0.05) >= 3, shade


def test_page_has_the_same_families() -> None:
    """
    A network has the same colour in the figures and on the page.
    """
    light, _ = palettes()
    table = [*(shade for _, shade in families.FAMILIES.values()), families.OTHER_COLOR]
    assert light == table
    assert sorted(families.SERIES) == sorted(table)
    script = (PAGE / "networks.js").read_text()
    on_page = re.search(r"const FAMILIES = (\[.*?\n\]);", script, flags=re.DOTALL)
    assert on_page
    names = json.loads(re.sub(r",\s*\]", "]", on_page[1]))
    assert names == [[name, [*starts]] for name, (starts, _) in families.FAMILIES.items()]


def epochs(*, is_validated: bool) -> list[Epoch]:
    return [
        Epoch(
            epoch=epoch,
            seconds=1,
            learning_rate=0.1,
            loss=2 / epoch,
            accuracy=1 - 0.9 / epoch,
            validation_loss=2.2 / epoch if is_validated else None,
            validation_accuracy=1 - 0.95 / epoch if is_validated else None,
        )
        for epoch in range(1, 26)
    ]


def trainings() -> Figure:
    names = ("plain20", "plain56", "resnet20", "resnet56")
    return curves("Trainings", {name: epochs(is_validated=True) for name in names}, ["On digits."])


def training() -> Figure:
    return curves("lenet5", {"lenet5": epochs(is_validated=True)}, ["On digits."])


def without_validation() -> Figure:
    return curves("lenet5", {"lenet5": epochs(is_validated=False)}, ["On digits."])


def one_epoch() -> Figure:
    return curves("lenet5", {"lenet5": epochs(is_validated=True)[:1]}, ["On digits."])


def choice(threads: int, size: int) -> Choice:
    p99 = (9 - threads) * size**0.7
    return Choice(
        threads=threads,
        batch_size=size,
        images_per_s=150 * (size * threads) ** 0.3,
        run_ms=0.8 * p99,
        run_p99_ms=p99,
        run_p99_spread_ms=(0.9 * p99, 1.4 * p99),
    )


def tuning() -> Figure:
    measured = tuple(choice(threads, 2**n) for threads in (1, 2) for n in range(6))
    found = Tuning(
        machine=Machine(processor="a processor", cores=2, onnxruntime="1.32.0"),
        model_sha256="0" * 64,
        p99_ms=100,
        chosen=measured[4],
        measured=measured,
        made_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return tuning_figure.figure("resnet18, float32", found)


def load(in_flight: int) -> Step:
    latency = {f"p{p:g}": 1 + in_flight**0.8 * (1 + p / 50) for p in PERCENTILES}
    return Step(
        concurrency=in_flight,
        rate_per_s=None,
        seconds=5,
        requests=100,
        answered_per_s=2500 * in_flight / (in_flight + 6),
        failed={},
        latency_ms=latency,
        lag_p99_ms=0,
    )


def load_test() -> Figure:
    return load_figure.figure(
        Report(
            measured_at="2026-11-30T10:00:00",
            address="localhost:8001",
            server="convoy 0.1.0",
            model="lenet5",
            model_version="1",
            input="image UINT8 [1,32,32,1]",
            batch_size=1,
            request_bytes=1024,
            connections=4,
            timeout_s=10,
            arrivals="poisson",
            seed=0,
            steps=tuple(map(load, (1, 4, 16, 64, 256))),
            failures={},
        )
    )


def evaluated(model: str, offset: float) -> ModelResult:
    labels = [f"a class with the number {number}" for number in range(10)]
    bins = tuple(
        Bin(images=50, confidence=0.1 * n - 0.05, accuracy=0.1 * n - offset) for n in range(2, 11)
    )
    evaluation = DataEvaluation(
        data="hard5k",
        data_sha256="0" * 64,
        images=450,
        top1=Measured(count=405, share=0.9, low=0.868, high=0.925),
        top5=None,
        ece=0.03,
        bins=bins,
        classes=tuple(
            ClassScore(label=label, images=45, precision=0.9, recall=0.9, f1=0.9)
            for label in labels
        ),
        confusion=(*((n, n, 40) for n in range(10)), (0, 1, 5), (3, 9, 5)),
        images_per_s=100,
        measured_with="ONNX Runtime",
        measured_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return ModelResult(model=model, version=1, evaluation=evaluation)


def reliability() -> Figure:
    results = (evaluated("lenet5", 0.09), evaluated("resnet18", 0.04))
    return evaluate_figures.reliability(EvaluateReport(results=results))


def reliability_of_one_family() -> Figure:
    results = (evaluated("resnet20", 0.09), evaluated("resnet18", 0.04))
    return evaluate_figures.reliability(EvaluateReport(results=results))


def confusion() -> Figure:
    return evaluate_figures.confusion(evaluated("lenet5", 0.09))


def confusion_of_three() -> Figure:
    result = evaluated("lenet5", 0.09)
    changes = {"classes": result.evaluation.classes[:3], "confusion": ((0, 0, 45), (1, 2, 5))}
    few = result.evaluation.model_copy(update=changes)
    return evaluate_figures.confusion(result.model_copy(update={"evaluation": few}))


@pytest.mark.parametrize(
    "draw",
    [
        *(trainings, training, one_epoch, without_validation, tuning, load_test),
        *(reliability, reliability_of_one_family, confusion, confusion_of_three),
    ],
    ids=lambda draw: draw.__name__,
)
def test_is_readable(draw, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """
    No text covers another one, leaves the figure or is small; all colours are in the table.
    """
    made = draw()
    assert drawn.faults(made) == []
    style.save(made, tmp_path / "a.svg")
    if draw not in (confusion, confusion_of_three):  # their shades are those of a scale
        assert drawn.strange_colors((tmp_path / "a.svg").read_text()) == set()


def test_training_of_one_epoch() -> None:
    """
    A single epoch is seen, at a whole number, and marked as the one that is exported.
    """
    made = one_epoch()
    made.draw_without_rendering()
    for axes in made.axes[:2]:
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
        assert [line.get_marker() for line in axes.lines] == ["o", "None", "o"]


def test_best_epoch_is_marked() -> None:
    """
    The dot is at the epoch whose weights are exported, which need not be the last.
    """
    measured = epochs(is_validated=True)[:3]
    measured[1] = dataclasses.replace(measured[1], validation_accuracy=1.0)
    for axes in curves("lenet5", {"lenet5": measured}, []).axes[:2]:
        assert np.array_equal(axes.lines[-1].get_xdata(), [2])


def test_one_bad_epoch_does_not_flatten_the_losses() -> None:
    """
    Losses that differ widely have a logarithmic scale; those of zero cannot have one.
    """
    measured = epochs(is_validated=True)
    for loss, scale in ((1e4, "log"), (0.0, "linear")):
        measured[1] = dataclasses.replace(measured[1], validation_loss=loss)
        made = curves("lenet5", {"lenet5": measured}, [])
        assert [axes.get_yscale() for axes in made.axes[:2]] == [scale, "linear"]


def test_caption_explains_the_lines_that_are_drawn() -> None:
    """
    The line of a training without validation is explained only if there is one.
    """
    for made, is_validated in ((training(), True), (without_validation(), False)):
        caption = made.get_supxlabel()
        assert ("Strong lines" in caption) == is_validated
        assert ("only line" in caption) != is_validated


def test_models_of_one_family_differ_in_colour() -> None:
    """
    Two models have two colours, and their intervals do not cover each other.
    """
    axes = reliability_of_one_family().axes[0]
    _, first, *rest = axes.lines
    second = next(line for line in rest if line.get_marker() == "o")
    assert first.get_color() != second.get_color()
    bars = [np.asarray(line.get_xdata()).flat[0] for line in rest if line.get_marker() != "o"]
    assert len(set(bars)) == len(bars)


def test_matrix_of_few_classes_fills_its_figure() -> None:
    """
    The matrix is wide, not a square in the middle.
    """
    made = confusion_of_three()
    made.draw_without_rendering()
    assert made.axes[0].get_position().width > 0.6


def test_same_file_each_time(tmp_path: Path) -> None:
    """
    The same data give the same SVG: neither identifiers nor a date differ.
    """
    for name in ("a.svg", "b.svg"):
        style.save(tuning(), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
