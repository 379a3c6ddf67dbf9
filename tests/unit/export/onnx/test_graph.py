from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from convoy.export.accuracy import accuracy
from convoy.export.artifact_writer import input_tensor
from convoy.export.errors import ProofError
from convoy.export.onnx import graph
from convoy.export.onnx.memory import measure_memory
from convoy.export.onnx.session import open_session
from convoy.export.recipes import SMALL
from convoy.models import ARCHITECTURES

RECIPE = SMALL["lenet5"]


class TwoImages(nn.Module):
    """A network whose graph only ever takes the two images of the export: a baked-in batch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.reshape(2, 1, 32, 32))


@pytest.fixture(scope="module")
def servable() -> graph.Servable:
    torch.manual_seed(0)
    return graph.Servable(ARCHITECTURES["lenet5"].build(), RECIPE.mean, RECIPE.std).eval()


@pytest.fixture(scope="module")
def exported(servable: graph.Servable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    graph.export_onnx(servable, input_tensor(RECIPE.preprocessing), path)
    return path


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (64, 32, 32, 1), np.uint8)


def test_proof_holds(servable: graph.Servable, exported: Path, images: np.ndarray) -> None:
    """
    ONNX Runtime answers as PyTorch does, at every batch size of the proof.
    """
    assert graph.prove(open_session(exported), servable, images) < 1e-5


def test_proof_fails_for_another_network(exported: Path, images: np.ndarray) -> None:
    """
    The proof can fail: other weights are not this graph.
    """
    torch.manual_seed(1)
    other = graph.Servable(ARCHITECTURES["lenet5"].build(), RECIPE.mean, RECIPE.std).eval()
    with pytest.raises(ProofError, match="differ from PyTorch's"):
        graph.prove(open_session(exported), other, images)


@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_proof_finds_a_fixed_batch(
    servable: graph.Servable, images: np.ndarray, tmp_path: Path
) -> None:
    """
    A graph that is right only at the batch size of its export is found out.
    """
    fixed = graph.Servable(TwoImages(servable.network), RECIPE.mean, RECIPE.std).eval()
    path = tmp_path / "fixed.onnx"
    example = torch.zeros((2, 32, 32, 1), dtype=torch.uint8)
    torch.onnx.export(
        fixed,
        (example,),
        path,
        dynamo=True,
        external_data=False,
        input_names=["image"],
        output_names=["logits", "probabilities"],
        verbose=False,
    )
    session = open_session(path)
    graph.prove(session, servable, images, batch_sizes=(2,))
    with pytest.raises(ProofError, match="running the graph at batch 1 failed"):
        graph.prove(session, servable, images)


def test_proof_refuses_what_is_no_number(exported: Path, images: np.ndarray) -> None:
    """
    Logits that compare with nothing prove nothing.
    """
    network = ARCHITECTURES["lenet5"].build()
    for parameter in network.parameters():
        parameter.data.fill_(torch.nan)
    broken = graph.Servable(network, RECIPE.mean, RECIPE.std).eval()
    with pytest.raises(ProofError, match="the same answer, or none that is finite"):
        graph.prove(open_session(exported), broken, images)


def test_scale_of_the_proof_is_not_one_images(images: np.ndarray, tmp_path: Path) -> None:
    """
    A network whose two classes are almost equal is proven too.
    """
    torch.manual_seed(0)
    network = ARCHITECTURES["lenet5"].build(num_classes=2)
    servable = graph.Servable(network, RECIPE.mean, RECIPE.std).eval()
    first = graph.torch_logits(servable, images[:1])[0]
    with torch.no_grad():  # the first image lies on the decision boundary, but for a hair
        last = dict(network.named_parameters())["fc3.bias"]
        last.add_(torch.tensor([first[1] - first[0] + 1e-4, 0]))
    graph.export_onnx(servable, input_tensor(RECIPE.preprocessing), tmp_path / "model.onnx")
    session = open_session(tmp_path / "model.onnx")
    assert graph.prove(session, servable, images) < 1e-4


def test_graph_is_clean(exported: Path) -> None:
    """
    One file, a variable batch, no notes of the exporter, no node without a purpose.
    """
    model = onnx.load(exported)
    assert list(exported.parent.iterdir()) == [exported]
    dimension = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert dimension.dim_param == "N"
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    operators = [node.op_type for node in model.graph.node]
    assert not {"Identity", "Constant"} & set(operators)
    assert operators.count("Conv") == 2
    assert operators.count("Gemm") == 3
    assert [output.name for output in model.graph.output] == ["logits", "probabilities"]


def test_memory(exported: Path, images: np.ndarray) -> None:
    """
    The weights are those of the graph; a larger batch needs more of the arena.
    """
    small, large = measure_memory(exported, images[:1]), measure_memory(exported, images)
    assert small.weights_bytes == large.weights_bytes
    assert small.weights_bytes == pytest.approx(61_706 * 4, abs=64)
    assert 0 < small.arena_peak_bytes < large.arena_peak_bytes


def test_accuracy() -> None:
    """
    A label counts if it is among the largest logits.
    """
    logits = np.array([[3, 2, 1], [1, 3, 2], [1, 2, 3]], np.float32)
    labels = np.array([0, 2, 0])
    assert [accuracy(logits, labels, top) for top in (1, 2, 3)] == [
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
        1.0,
    ]


def test_accuracy_of_scores_that_are_equal_or_no_numbers() -> None:
    """
    The first of equal logits counts as the largest; an image with NaN or infinity is never right.
    """
    ties = np.zeros((2, 30), np.float32)
    assert accuracy(ties, np.array([0, 29]), top=1) == 0.5
    assert accuracy(ties, np.array([4, 5]), top=5) == 0.5
    bad = np.array([[np.nan, 0, 0], [0, np.inf, 0], [-np.inf] * 3], np.float32)
    assert accuracy(bad, np.array([0, 1, 0]), top=3) == 0
