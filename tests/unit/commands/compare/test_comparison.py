import io
import json
import re
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from rich.console import Console

from convoy.artifact.manifest import Evaluation
from convoy.commands.compare import accuracy, comparison_data
from convoy.commands.compare.compare_settings import CompareSettings
from convoy.commands.compare.comparison_data import Comparison, ComparisonError
from convoy.commands.compare.comparison_table import print_table
from convoy.commands.compare.published import PUBLISHED
from convoy.models import ARCHITECTURES, drop_auxiliary
from tests.harness import comparisons
from tests.harness.comparisons import measured, network
from tests.harness.counts import count_macs, count_parameters

OWN = Evaluation(
    data="ImageNet-1K, validation part",
    origin="published",
    publisher="torchvision",
    reference="recipe",
    images=50_000,
    top1=0.80858,
)


def lines(comparison: Comparison, width: int = 100) -> list[str]:
    """Return the lines that a console of this width shows."""
    output = io.StringIO()
    print_table(comparison, Console(file=output, width=width, highlight=False, markup=False))
    return output.getvalue().splitlines()


def test_written_and_read(tmp_path: Path) -> None:
    """
    A comparison is read as it was written.
    """
    comparison = comparisons.fifteen()
    comparison_data.write(comparison, tmp_path / "c.json")
    assert comparison_data.read(tmp_path / "c.json") == comparison


def test_older_version_is_read(tmp_path: Path) -> None:
    """
    Comparisons of version 1 told the origin of an accuracy in a text.
    """
    comparison = comparisons.comparison(network("a", 1, 1, evaluations=(OWN, measured(0.9))))
    older = json.loads(comparison.model_dump_json()) | {"schema_version": 1}
    for evaluation in older["networks"][0]["evaluations"]:
        origin, by, place = map(evaluation.pop, ("origin", "publisher", "reference"))
        evaluation["source"] = f"published by {by}: {place}" if by else origin
    (tmp_path / "c.json").write_text(json.dumps(older))
    assert comparison_data.read(tmp_path / "c.json") == comparison


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "invalid JSON: "),
        ('{"schema_version": 6}', "schema_version 6 is newer than 5"),
        ('{"networks": 1}', "damaged: it lacks fields of schema_version 1"),
        ("{}", "machine: Field required"),
    ],
)
def test_no_comparison(tmp_path: Path, text: str, message: str) -> None:
    """
    A file that is none is refused in one line that names file and field.
    """
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(ComparisonError) as error:
        comparison_data.read(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_is_of_our_networks(name: str) -> None:
    """
    The parameters and operations beside a published accuracy are those of the architecture, except
    AlexNet's: that accuracy is of the network in two groups, which has fewer of both.
    """
    published, architecture = PUBLISHED[name], ARCHITECTURES[name]
    side = architecture.input_px
    with torch.device("meta"):  # shapes without numbers
        made = architecture.build().eval()
        drop_auxiliary(made)
        counted = (count_parameters(made), count_macs(made, (architecture.channels, side, side)))
    assert published.input_px == side
    if name == "alexnet":
        assert (published.parameters, published.macs) < counted
    else:
        assert (published.parameters, published.macs) == counted


def test_measured_series() -> None:
    """
    Accuracies on other data, or on another number of images, are never in one series; what most
    models were measured on comes first, and says who is missing.
    """
    found = accuracy.measured(
        comparisons.comparison(
            network("a", 1, 1, evaluations=(measured(0.9, "x", 10),)),
            network("b", 1, 1, evaluations=(measured(0.8, "y"), OWN)),
            network("c", 1, 1, evaluations=(measured(0.7, "y"), measured(0.6, "x", 20))),
        )
    )
    assert [(series.title, series.missing) for series in found] == [
        ("measured here on y, 1,000 images", ("a",)),
        ("measured here on x, 10 images", ("b", "c")),
        ("measured here on x, 20 images", ("a", "b")),
    ]
    assert [score.top1 for score in found[0].scores] == [0.8, 0.7]


def test_series_on_folders() -> None:
    """
    Folders of one name may hold other images: only those of the same content are in one series.
    """

    def on_folder(sha256: str | None) -> Evaluation:
        return measured(0.9, "folder:photos").model_copy(update={"data_sha256": sha256})

    found = accuracy.measured(
        comparisons.comparison(
            *(
                network(name, 1, 1, evaluations=(on_folder(sha256),))
                for name, sha256 in (("a", "1" * 64), ("b", "2" * 64), ("c", "1" * 64))
            ),
            *(network(name, 1, 1, evaluations=(on_folder(None),)) for name in ("d", "e")),
        )
    )
    names = [[score.name for score in series.scores] for series in found]
    assert names == [["a", "c"], ["b"], ["d"], ["e"]]
    assert found[0].title == "measured here on folder:photos, 1,000 images, SHA-256 111111111111"


def test_published_series() -> None:
    """
    The weights here count before others of the architecture; these come with their own size, and
    once for all models without an accuracy of their own.
    """
    own = network("r50", 25, 4, architecture="resnet50", evaluations=(OWN,))
    tuned = network("r50-tuned", 23, 4, architecture="resnet50", published=PUBLISHED["resnet50"])
    digits = [
        network(f"v{i}", 9, 9, architecture="vgg16", published=PUBLISHED["vgg16"]) for i in "12"
    ]
    (series,) = accuracy.published(
        comparisons.comparison(own, tuned, *digits, network("lenet5", 1, 1))
    )
    assert [(score.name, score.top1, score.parameters) for score in series.scores] == [
        ("r50", 0.80858, 25),
        ("resnet50", PUBLISHED["resnet50"].top1, PUBLISHED["resnet50"].parameters),
        ("vgg16", 0.71592, 138_357_544),
    ]
    assert [score.of_these_weights for score in series.scores] == [True, False, False]
    assert [score.source for score in series.scores] == [
        "torchvision: recipe (these weights)",
        "torchvision 0.29, IMAGENET1K_V1",
        "torchvision 0.29, IMAGENET1K_V1",
    ]
    assert series.missing == ("lenet5",)


def test_density() -> None:
    """
    Density is per cent of top-1 for each million parameters: 71.592 / 138.357544.
    """
    score = accuracy.published_of_others(network("vgg16", 1, 1))
    assert score is not None
    assert score.density == pytest.approx(0.51744, abs=1e-5)


def test_table_row() -> None:
    """
    Measured and published accuracy have columns and sources of their own; operations are twice the
    multiply-accumulates, memory is weights and arena.
    """
    vgg = network("vgg16", 134_301_514, 432.8, evaluations=(measured(0.965),))
    printed = lines(comparisons.comparison(vgg, network("lenet5", 61_706, 0.42)))
    assert printed[2].split("  ")[0] == "vgg16"
    cells = printed[2].replace(" at ", "@").replace(" [", "[").split()
    assert cells[1:6] == ["64", "96.5", "71.6[2]", "134.30", "865.6"]
    assert cells[6:8] == ["9.70", "5.88@64"]
    assert cells[8:] == ["548.3", "1,248.9"]
    assert printed[3].split()[:4] == ["lenet5", "64", "0.06", "0.8"]
    assert "[1] measured here on digits, 1,000 images" in printed
    assert "[2] torchvision 0.29, IMAGENET1K_V1" in printed
    assert any("a processor, 2 threads on 4 CPUs, ONNX Runtime 1.32.0" in line for line in printed)


def columns(comparison: Comparison) -> dict[str, list[str]]:
    """The cells of each column of accuracies, by its head without numbers."""
    printed = lines(comparison)
    end = printed.index("")
    sources: dict[str, str] = dict(re.findall(r"\[(\d+)\] (measured .*)", "\n".join(printed)))
    heads = re.split(r"\s{2,}", printed[1].strip())
    starts = [printed[1].index(head) + len(head) for head in heads]
    found = {}
    for head, stop in zip(heads, starts, strict=True):
        cells = [re.sub(r" \[\d+\]", "", line[:stop].split("  ")[-1]) for line in printed[2:end]]
        found[sources.get(head.strip("[]"), head)] = [cell.strip() for cell in cells]
    return found


def test_numbers_of_other_images_stand_apart() -> None:
    """
    A column holds accuracies on the same images only, and a model that joins changes none of them.
    """
    two = [
        network(
            "a", 10**6, 1, evaluations=(measured(0.9, "x"), measured(0.5, "y")), published=None
        ),
        network("b", 10**6, 1, evaluations=(measured(0.8, "y"),), published=None),
    ]
    joining = [
        network(name, 10**6, 1, evaluations=(measured(0.1, "x"),), published=None) for name in "cd"
    ]
    before, after = (
        columns(comparisons.comparison(*networks)) for networks in (two, [*two, *joining])
    )
    x, y = (f"measured here on {data}, 1,000 images" for data in "xy")
    assert (before[x], before[y]) == (["90.0", ""], ["50.0", "80.0"])
    assert (after[x], after[y]) == (["90.0", "", "10.0", "10.0"], ["50.0", "80.0", "", ""])


def test_published_of_other_weights_stands_apart() -> None:
    """
    An accuracy of these weights and one of others are in columns of their own, and one on another
    set of images is in neither.
    """
    elsewhere = OWN.model_copy(update={"data": "ImageNet-V2", "top1": 0.6})
    found = comparisons.comparison(
        network("own", 10**6, 1, architecture="resnet50", evaluations=(OWN,)),
        network("tuned", 10**6, 1, architecture="vgg16", published=PUBLISHED["vgg16"]),
        network("v2", 10**6, 1, evaluations=(elsewhere,)),
    )
    cells = columns(found)
    assert cells["published"] == ["80.9", "", ""]
    assert cells["architecture"] == ["", "71.6", ""]
    assert [series.title for series in accuracy.published(found)] == [
        "published on ImageNet, one central crop",
        "published on ImageNet-V2",
    ]


def test_table_fits() -> None:
    """
    The zoo's table fits into 100 columns; on a narrower console no number is cut off.
    """
    wide, narrow = (lines(comparisons.fifteen(), width)[:17] for width in (100, 40))
    assert max(map(len, wide)) <= 100
    assert [line.split() for line in narrow] == [line.split() for line in wide]


def test_table_without_a_size() -> None:
    """
    A size that one model lacks is an empty cell, and the notes say why.
    """
    whole, part = network("a", 10**6, 1), network("b", 10**6, 1)
    part = part.model_copy(update={"batches": part.batches[:1]})
    printed = lines(comparisons.comparison(whole, part, notes=("b: no batches of 8",)))
    assert len(printed[3].split()) == len(printed[2].split()) - 1
    assert "b: no batches of 8" in printed


def test_settings() -> None:
    """
    Sizes are sorted and none comes twice, nor does a model.
    """
    chosen = CompareSettings.model_validate({"batch_sizes": "8,1,8", "models": "b,a,b"})
    assert chosen.batch_sizes == (1, 8)
    assert chosen.models == ("b", "a")


def test_earlier_results_are_shown_as_they_are() -> None:
    """
    Options of a measurement are refused with results of an earlier one, not ignored.
    """
    with pytest.raises(ValidationError, match="measures nothing: leave out --models, --threads"):
        CompareSettings.model_validate({"from_file": "a.json", "models": "b", "threads": 1})


@pytest.mark.parametrize("sizes", ["0", "1,x", "2048", ""])
def test_bad_sizes(sizes: str) -> None:
    """
    A value that is no batch size is refused.
    """
    with pytest.raises(ValidationError):
        CompareSettings.model_validate({"batch_sizes": sizes})
