import io
from pathlib import Path

import pytest
from rich.console import Console

from artifact.manifest import Evaluation
from bench.comparison import figures
from bench.comparison.published import PUBLISHED
from bench.comparison.results import Batch, Comparison, Machine, Network
from bench.comparison.table import notes, print_table
from models import ARCHITECTURES

MACHINE = Machine(
    processor="a processor",
    cores=2,
    threads=2,
    provider="CPUExecutionProvider",
    onnxruntime="1.32.0",
    measured_at="2026-11-24",
)


def network(name: str, parameters: int, macs: int, top1: float | None) -> Network:
    """A network with two batch sizes."""
    measured = Evaluation(data="digits", source="measured", images=1000, top1=top1 or 0)
    return Network(
        name=name,
        version=1,
        architecture=name,
        precision="float32",
        input_px=32,
        parameters=parameters,
        macs=macs,
        weights_bytes=4 * parameters,
        accuracy=() if top1 is None else (measured,),
        published=PUBLISHED.get(name),
        batches=(
            Batch(batch_size=1, ms_per_image=2.0, arena_peak_bytes=1_000_000),
            Batch(batch_size=8, ms_per_image=1.5, arena_peak_bytes=6_000_000),
        ),
    )


@pytest.fixture
def comparison() -> Comparison:
    networks = (
        network("vgg16", 134_000_000, 433_000_000, 0.90),
        network("resnet18", 11_000_000, 37_000_000, 0.93),
        network("lenet5", 61_706, 416_520, None),
    )
    return Comparison(machine=MACHINE, networks=networks)


def test_written_and_read(comparison: Comparison) -> None:
    """
    What is written as JSON is read again as it was.
    """
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison


def test_measured_and_published_have_columns_of_their_own(comparison: Comparison) -> None:
    """
    The table shows both, and says under it what each is about.
    """
    output = io.StringIO()
    print_table(comparison, Console(file=output, width=200))
    (row,) = [line for line in output.getvalue().splitlines() if "vgg16" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[:6] == ["vgg16", "32", "0.900", "0.716", "134.00", "866.0"]
    assert cells[6:9] == ["2.00", "1.50", "8"]
    (lenet,) = [line for line in output.getvalue().splitlines() if "lenet5" in line]
    assert [cell.strip() for cell in lenet.strip("│").split("│")][2:4] == ["", ""]
    text = " ".join(notes(comparison))
    assert "digits, 1000 images" in text
    assert "torchvision 0.29" in text
    assert "a processor" in text


def test_density_and_size(comparison: Comparison) -> None:
    """
    Density is percent for each million parameters; a ball's area follows the parameters.
    """
    vgg, resnet, lenet = comparison.networks
    assert figures.density(vgg) == pytest.approx(90 / 134)
    assert figures.area(vgg) - figures.area(lenet) == pytest.approx(12 * (134 - 0.061706))
    assert figures.colour(vgg) != figures.colour(resnet)


@pytest.mark.parametrize("name", figures.FIGURES)
def test_figure_shows_each_network(name: str, comparison: Comparison) -> None:
    """
    Each figure names the networks that it has numbers of, and where time was measured.
    """
    figure = figures.make(figures.FIGURES[name], comparison)
    (axes,) = figure.axes
    shown = {text.get_text() for text in axes.texts}
    shown |= {text.get_text() for text in axes.get_yticklabels()}
    assert {"vgg16", "resnet18"} <= shown
    assert axes.get_title()
    assert "a processor" in figure.get_supxlabel()
    if name in ("top1_per_network", "top1_against_operations", "accuracy_density"):
        assert "measured on digits (1000 images)" in axes.get_title()


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_files(tmp_path: Path, comparison: Comparison, suffix: str, start: bytes) -> None:
    """
    Every figure becomes a file of the format that is asked for.
    """
    paths = figures.draw_all(comparison, tmp_path / "figures", suffix)
    assert [path.stem for path in paths] == list(figures.FIGURES)
    assert all(path.read_bytes().startswith(start) for path in paths)


def test_published_are_architectures() -> None:
    """
    What was published is filed under the names that networks have here.
    """
    assert PUBLISHED.keys() <= ARCHITECTURES.keys()
