from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convoy.commands.compare import figures
from convoy.figures import families
from convoy.figures.labels import spread_out
from tests.harness import comparisons, drawn
from tests.harness.comparisons import measured, network

MEASURED = "measured here on digits, 1,000 images"
PUBLISHED = "published on ImageNet, one central crop"

EVERY = {
    "top1_per_network",
    "top1_against_operations_measured",
    "top1_against_operations_measured_2",
    "top1_against_operations_published",
    "top1_against_speed_measured",
    "top1_against_speed_measured_2",
    "accuracy_density_measured",
    "accuracy_density_measured_2",
    "accuracy_density_published",
    "time_against_batch",
    "memory_against_batch",
    "memory_against_parameters",
    "operations_against_time",
}


@pytest.fixture(scope="module")
def made() -> dict[str, Figure]:
    return figures.figures(comparisons.fifteen())


def names(axes: Axes) -> Counter[str]:
    """Names of networks in *axes*, at marks or at the axis, without the number of the source."""
    texts = [text.get_text() for text in (*axes.texts, *axes.get_yticklabels())]
    known = {network.name for network in comparisons.fifteen().networks}
    return Counter(name for text in texts if (name := text.split(" [")[0]) in known)


def test_every_figure(made: dict[str, Figure]) -> None:
    """
    There is one for each question of the paper, twice where it is about accuracy.
    """
    assert made.keys() == EVERY


@pytest.mark.parametrize("name", sorted(EVERY))
def test_each_network_is_named_once(made: dict[str, Figure], name: str) -> None:
    """
    Every network that there is a number of has a mark with its name, and no other.
    """
    everyone = {network.name for network in comparisons.fifteen().networks}
    published = {n.name for n in comparisons.fifteen().networks if n.published}
    digits = everyone - {"lenet5"}
    expected = {MEASURED: digits, PUBLISHED: published}
    for axes in made[name].axes:
        title = " ".join(axes.get_title(loc="left").split())
        shown = expected.get(title.split(";")[0], everyone)
        shown = digits if "plain digits" in title else shown
        # The key of areas names no network.
        assert names(axes) == Counter(shown if title else ())


@pytest.mark.parametrize("name", sorted(EVERY))
def test_names_the_sources_of_its_numbers(made: dict[str, Figure], name: str) -> None:
    """
    Above the axes stands which accuracy it is, or that it was measured; below, the machine or who
    published what.
    """
    titles = [" ".join(axes.get_title(loc="left").split()) for axes in made[name].axes]
    titles = [title for title in titles if title]
    caption = " ".join(made[name].get_supxlabel().split())
    if "speed" in name:
        assert all(title.startswith("measured here on") for title in titles)
        assert "a processor, 2 threads, ONNX Runtime 1.32.0" in caption
    elif name == "top1_per_network":
        assert titles == [MEASURED, MEASURED.replace("digits", "plain digits"), PUBLISHED]
    elif "_measured" in name:
        data = "plain digits" if name.endswith("_2") else "digits"
        assert titles == [MEASURED.replace("digits", data)]
        assert "Published" not in caption
        assert f"Not measured here on {data}, 1,000 images: lenet5." in caption
    elif name.endswith("_published"):
        assert titles == [PUBLISHED]
        assert "[2] torchvision 0.29, IMAGENET1K_V1" in caption
        assert "of other weights" in caption
    else:
        assert all(title.startswith("measured here") for title in titles)
        assert "a processor, 2 threads, ONNX Runtime 1.32.0" in caption


@pytest.mark.parametrize("name", sorted(EVERY))
def test_is_readable(made: dict[str, Figure], name: str) -> None:
    """
    With the fifteen networks of the zoo no text covers another one, leaves the figure or is small.
    """
    assert drawn.faults(made[name]) == []


def test_faults_are_found() -> None:
    """
    Texts that cover each other or leave the figure are found, and letters that are too small.
    """
    figure = Figure(figsize=(drawn.WIDTH_IN, 4))
    for x, size, text in (
        (0.5, 12, "one"),
        (0.51, 12, "two"),
        (0.99, 12, "outside"),
        (0.1, 5, "x"),
    ):
        figure.text(x, 0.5, text, fontsize=size)
    expected = ["'one' and 'two' overlap", "'outside' is cut off", "'x' is small"]
    assert drawn.faults(figure) == expected
    assert drawn.strange_colors('style="fill: #123456"') == {"#123456"}


def test_ball_is_where_it_belongs(made: dict[str, Figure]) -> None:
    """
    A published ball is at the operations of the network that was published, not at those of the
    small model here, and its area follows the parameters.
    """
    axes, _ = made["top1_against_operations_published"].axes
    balls = [line for line in axes.lines if line.get_marker() == "o"]
    (ball,) = [
        line
        for line in balls
        if np.allclose(np.asarray(line.get_xydata()), [[2 * 15.47026432, 71.592]])
    ]
    assert ball.get_markersize() ** 2 == pytest.approx(12 + 14 * 138.357544)
    assert ball.get_markeredgecolor() == (families.color("vgg16"), 0.9)
    assert axes.get_xlim()[0] == 0  # no operations are less than none


@pytest.mark.parametrize(
    ("architecture", "family"),
    [
        ("lenet5", "LeNet"),
        ("bn_alexnet", "AlexNet"),
        ("vgg16_bn", "VGG"),
        ("nin_cifar", "NIN"),
        ("googlenet_tv", "GoogLeNet, Inception"),
        ("inception_resnet_v2", "GoogLeNet, Inception"),
        ("resnet50_v1", "ResNet"),
        ("plain34", "Plain"),
        ("mobilenet", "other"),
    ],
)
def test_family(architecture: str, family: str) -> None:
    """
    The colour is that of the family, for the architectures with two names in theirs, too.
    """
    assert families.family(architecture) == family


def test_without_accuracy() -> None:
    """
    Figures that there are no numbers for are left out.
    """
    plain = comparisons.comparison(network("a", 10**6, 1), network("b", 10**6, 2))
    assert figures.figures(plain).keys() == {
        name for name in EVERY if "top1" not in name and "accuracy" not in name
    }


def test_one_model_and_one_size() -> None:
    """
    One model with one batch size can be drawn, too.
    """
    one = network("lenet5", 61_706, 0.42, evaluations=(measured(0.98),))
    one = one.model_copy(update={"batches": one.batches[:1]})
    made = figures.figures(comparisons.comparison(one))
    assert len(made["operations_against_time"].axes) == 1
    assert "top1_against_operations_published" not in made


def test_operations_that_are_not_counted() -> None:
    """
    A network whose operations nobody knows is in no figure of operations, and in all others.
    """
    unknown = network("fused", 10**6, 1, macs=None, evaluations=(measured(0.9),), published=None)
    known = network("lenet5", 61_706, 0.4, evaluations=(measured(0.8),))
    larger = network("vgg11", 10**7, 900, evaluations=(measured(0.7),))
    both = figures.figures(comparisons.comparison(unknown, known, larger))
    for name, figure in both.items():
        if "published" in name:
            continue
        shown = [text.get_text() for axes in figure.axes for text in axes.texts]
        shown += [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
        assert any(text.startswith("fused") for text in shown) == ("operations" not in name)
    alone = figures.figures(comparisons.comparison(unknown))
    assert not [name for name in alone if "operations" in name]


def test_without_products() -> None:
    """
    A graph without convolutions, or without weights, has a place on logarithmic axes, too.
    """
    strange = network("a", 0, 0, evaluations=(measured(0.5),))
    for made in figures.figures(comparisons.comparison(strange, network("b", 9, 9))).values():
        made.draw_without_rendering()


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_files(tmp_path: Path, suffix: str, start: bytes) -> None:
    """
    Every figure becomes a file of the format that is asked for.
    """
    two = comparisons.comparison(network("a", 10**6, 1), network("b", 10**6, 2))
    paths = figures.draw_all(two, tmp_path, suffix)
    assert len(paths) == 4
    assert all(path.suffix == f".{suffix}" for path in paths)
    assert all(path.read_bytes().startswith(start) for path in paths)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([50], [50]),
        ([10, 40, 90], [10, 40, 90]),  # nothing to do
        ([50, 50], [45, 55]),  # around their mean
        ([40, 46, 50], [35.333, 45.333, 55.333]),  # two blocks that became one
        ([0, 0], [0, 10]),  # not below
        ([100, 100], [90, 100]),  # nor above
        ([50] * 21, [5 * place for place in range(21)]),  # too many: nearer
    ],
)
def test_spread_out(values: list[float], expected: list[float]) -> None:
    """
    Names come apart by as little as it takes, between 0 and 100.
    """
    assert spread_out(values, 10, 0, 100) == pytest.approx(expected, abs=1e-3)
