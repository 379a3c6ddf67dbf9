import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

from convoy.artifact.files import Artifact
from convoy.export.errors import PrecisionError
from convoy.export.onnx.session import open_session
from convoy.export.quantization.images import from_data
from convoy.export.quantization.interface import Interface
from convoy.export.quantization.quantizing import Quantized, quantize
from convoy.export.quantization.verification import Bounds
from tests.harness import colours, tiny

STRICT = Bounds(max_accuracy_loss=0, min_agreement=100)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colours.write_images(tmp_path_factory.mktemp("images") / "photos", 60)


def quantized(
    folder: Path, photos: Path, outlier: float, bounds: Bounds = STRICT
) -> tuple[Artifact, Quantized, str]:
    """Return a classifier with *outlier*, what became of it in 8 bits, and what was printed."""
    artifact = colours.imported(folder / "models", colours.classifier(outlier))
    material = from_data(f"folder:{photos}", artifact.manifest, 256, 0)
    told = io.StringIO()
    found = quantize(
        artifact.model_path,
        Interface.of(artifact.manifest),
        material,
        "u8s8",
        bounds,
        Console(file=told, width=500),
    )
    return artifact, found, told.getvalue()


def test_well_behaved_network(tmp_path: Path, photos: Path) -> None:
    """
    All layers are converted, and the comparison says what that costs.
    """
    _, found, told = quantized(tmp_path, photos, outlier=1)
    assert found.float32_layers == ()
    assert found.in_full is None
    (comparison,) = found.comparisons
    assert (comparison.images, comparison.right, comparison.same_class) == (36, 36, 36)
    assert 0 < comparison.largest_change < 0.1
    assert found.scores[0].shape == (36, 3)
    assert 0 < found.growth.mean < found.growth.largest < 0.2
    assert told.startswith("comparing int8 with float32 on 36 images\n")
    assert "\nfolder:photos, test part: accuracy 1.0000 in int8, 1.0000 in float32; " in told


def test_layers_that_cause_the_loss_stay_in_float32(tmp_path: Path, photos: Path) -> None:
    """
    A feature that is a thousand times larger than the others leaves them no levels: the layer that
    makes it and the one that reads it are found, and no other.
    """
    artifact, found, told = quantized(tmp_path, photos, outlier=1000)
    assert "with all 5 layers in 8 bits, the graph loses " in told
    maker, reader = found.float32_layers
    nodes = {node.name: node for node in found.model.graph.node}
    assert (nodes[maker].op_type, nodes[reader].op_type) == ("Conv", "Gemm")
    assert found.comparisons[0].right == 36
    assert found.in_full is not None
    # The graph that was compared is the one that is returned.
    session = open_session(found.model.SerializeToString())
    images = from_data(f"folder:{photos}", artifact.manifest, 256, 0).tests[0].images
    scores = Interface.of(artifact.manifest).scores_of(session, images)
    assert np.array_equal(scores, found.scores[0])


def test_loss_that_no_layer_explains(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    If half of the layers in float32 are not enough, the graph is refused with all figures.
    """
    monkeypatch.setattr("convoy.export.quantization.quantizing._LARGEST_SHARE", 0.2)
    with pytest.raises(PrecisionError) as caught:
        quantized(tmp_path, photos, outlier=1000)
    assert str(caught.value).startswith("with 1 of 5 layers in float32, the int8 graph still loses")
    assert str(caught.value).endswith(
        "in float32; --max-accuracy-loss allows 0; serve float32, or allow more"
    )


def test_larger_loss_is_accepted_if_allowed(tmp_path: Path, photos: Path) -> None:
    """
    The bound decides, not the loss.
    """
    bounds = Bounds(max_accuracy_loss=90, min_agreement=100)
    _, found, _ = quantized(tmp_path, photos, 1000, bounds)
    assert found.float32_layers == ()
    assert found.comparisons[0].accuracy_loss is not None
    assert found.comparisons[0].accuracy_loss > 10


def test_graph_without_layers(tmp_path: Path, photos: Path) -> None:
    """
    A graph that only looks answers up has nothing to convert.
    """
    artifact = colours.imported(tmp_path / "models", colours.classifier())
    path = tmp_path / "tiny.onnx"
    onnx.save(tiny.graph(), path)
    material = from_data(f"folder:{photos}", artifact.manifest, 9, 9)
    with pytest.raises(PrecisionError, match="no convolution or matrix product with weights"):
        quantize(
            path, Interface.of(artifact.manifest), material, "u8s8", STRICT, Console(quiet=True)
        )


def test_float32_graph_without_answers(tmp_path: Path, photos: Path) -> None:
    """
    NaN of the float32 graph is not said to come from int8.
    """
    artifact = colours.imported(tmp_path / "models", colours.classifier())
    model = onnx.load(artifact.model_path)
    # The logarithm of a negative number.
    node = next(node for node in model.graph.node if "logits" in node.output)
    node.output[0] = "before_the_logarithm"
    model.graph.node.append(onnx.helper.make_node("Log", ["before_the_logarithm"], ["logits"]))
    path = tmp_path / "logarithm.onnx"
    onnx.save(model, path)
    material = from_data(f"folder:{photos}", artifact.manifest, 9, 9)
    with pytest.raises(PrecisionError, match=r"the float32 graph itself answers . of 9 images of"):
        quantize(
            path, Interface.of(artifact.manifest), material, "u8s8", STRICT, Console(quiet=True)
        )
