"""Maps of tiny graphs in each form of the end of a network, against ONNX Runtime's own scores."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from convoy.artifact import wire
from convoy.artifact.files import MODEL_FILE, file_sha256
from convoy.artifact.manifest import Manifest, OutputTensor
from convoy.service.errors import ArtifactInvalidError, ModelLoadError, UnsupportedError
from convoy.service.runtime.class_maps.graph import Graph
from convoy.service.runtime.class_maps.maps import find_class_maps, reason_for_none
from tests.harness import averaging, tiny

EVERY_CLASS = range(tiny.CLASSES)


def written(folder: Path, model: onnx.ModelProto, **changes: object) -> tuple[Path, Manifest]:
    path = folder / MODEL_FILE
    onnx.save(model, path)
    return path, tiny.manifest(model_sha256=file_sha256(path), **changes)


@pytest.mark.parametrize("form", averaging.FORMS)
def test_maps_are_exact(tmp_path: Path, form: str) -> None:
    """
    The mean of each map and its bias are the class's score, in whatever form the end is written.
    """
    model = averaging.graph(averaging.FORMS[form])
    # Rounding to 8 bits is no part of the maps.
    tolerance = 3e-2 if form == "8 bits" else 1e-5
    path, manifest = written(tmp_path, model, golden_tolerance=tolerance)
    assert reason_for_none(path, manifest) == ""
    image = averaging.images(1)
    expected = averaging.logits(model, image)[0]
    found = find_class_maps(path, manifest, image, EVERY_CLASS)
    assert found.maps.shape == (tiny.CLASSES, tiny.SIDE, tiny.SIDE)
    near = tolerance * float(np.ptp(expected))
    assert found.scores == pytest.approx(expected, abs=1e-5)
    assert found.maps.mean(axis=(1, 2)) + found.biases == pytest.approx(expected, abs=near)


def test_maps_are_at_their_places(tmp_path: Path) -> None:
    """
    Each place of a map is the product of the last maps there with the weights of the class.
    """
    model = averaging.graph(averaging.FORMS["gemm"])
    path, manifest = written(tmp_path, model)
    image = averaging.images(1)
    found = find_class_maps(path, manifest, image, [3, 1])
    model.graph.output.append(helper.make_empty_tensor_value_info("maps"))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (maps,) = session.run(["maps"], {"image": image})
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    expected = np.einsum("chw,ck->khw", maps[0], weights["weight"])
    assert found.maps == pytest.approx(expected[[3, 1]], abs=1e-5)
    assert found.biases == pytest.approx(weights["bias"][[3, 1]], abs=1e-6)


def test_maps_of_probabilities(tmp_path: Path) -> None:
    """
    A graph whose only output is probabilities has maps of the scores before its softmax.
    """
    model = averaging.graph(averaging.FORMS["gemm"])
    expected = averaging.logits(model, averaging.images(1))[0]
    del model.graph.output[0]
    path, manifest = written(
        tmp_path, model, outputs=(OutputTensor(name="probabilities", kind="probabilities"),)
    )
    found = find_class_maps(path, manifest, averaging.images(1), EVERY_CLASS)
    assert found.scores == pytest.approx(expected, abs=1e-5)
    assert found.maps.mean(axis=(1, 2)) + found.biases == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("operator", averaging.OTHERS)
def test_other_ends(tmp_path: Path, operator: str) -> None:
    """
    The operator that makes a head not linear is named, before an image is needed.
    """
    path, manifest = written(tmp_path, averaging.graph(averaging.OTHERS[operator]))
    assert f"lies between {operator}, which is not linear" in reason_for_none(path, manifest)
    with pytest.raises(UnsupportedError, match=operator):
        find_class_maps(path, manifest, averaging.images(1), [0])


def test_average_of_a_part(tmp_path: Path) -> None:
    """
    An average of less than whole maps is found out by its numbers.
    """
    nodes = [
        helper.make_node("AveragePool", ["maps"], ["average"], kernel_shape=[3, 3], strides=[4, 4]),
        *averaging.FORMS["gemm"][1:],
    ]
    path, manifest = written(tmp_path, averaging.graph(nodes))
    with pytest.raises(UnsupportedError, match="not that of whole feature maps"):
        find_class_maps(path, manifest, averaging.images(1), [0])


def test_graph_without_an_average(tmp_path: Path) -> None:
    """
    A graph that looks its answers up is told that it averages nothing.
    """
    path, manifest = written(tmp_path, tiny.graph())
    assert reason_for_none(path, manifest)


def test_graph_that_was_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    The file of another graph than the one that serves is refused; only the log has its path.
    """
    path, manifest = written(tmp_path, averaging.graph(averaging.FORMS["gemm"]))
    path.write_bytes(averaging.graph(averaging.FORMS["mean"]).SerializeToString())
    with pytest.raises(
        ArtifactInvalidError, match="the graph of tiny version 1 has changed"
    ) as changed:
        find_class_maps(path, manifest, averaging.images(1), [0])
    path.unlink()
    with pytest.raises(ArtifactInvalidError, match="tiny version 1 cannot be read") as missing:
        find_class_maps(path, manifest, averaging.images(1), [0])
    assert reason_for_none(path, manifest) == "its graph cannot be read"
    assert str(tmp_path) not in f"{changed.value} {missing.value}"
    assert [str(path) in record.__dict__["reason"] for record in caplog.records] == [True] * 3


def test_graph_that_cannot_be_opened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    The log has the text of ONNX Runtime; the error that clients get does not.
    """
    model = averaging.graph(averaging.FORMS["gemm"])
    model.opset_import[0].version = 9999
    path, manifest = written(tmp_path, model)
    with pytest.raises(ModelLoadError) as raised:
        find_class_maps(path, manifest, averaging.images(1), [0])
    assert str(raised.value) == (
        "the graph of tiny version 1 cannot be opened with its maps; the server's log has the cause"
    )
    assert "opset" in caplog.records[-1].__dict__["reason"].lower()


def test_wiring_is_that_of_onnx(tmp_path: Path) -> None:
    """
    Nodes, weights and outputs are those that the onnx package reads.
    """
    model = averaging.graph(averaging.FORMS["shape"])
    graph = Graph.read(io.BytesIO(model.SerializeToString()))
    for found, node in zip(graph.nodes, model.graph.node, strict=True):
        assert (found.operator, found.inputs) == (node.op_type, tuple(node.input))
        assert (found.outputs, found.content) == (tuple(node.output), node.SerializeToString())
    assert {name: tensor.read() for name, tensor in graph.initializers.items()} == {
        tensor.name: tensor.SerializeToString() for tensor in model.graph.initializer
    }
    assert graph.outputs == ["logits", "probabilities"]


@pytest.mark.parametrize("content", [b"\x0a", b"\x0a\x05ab", b"\x08\xff", b"\x0b", b"\xff" * 11])
def test_damaged_messages(content: bytes) -> None:
    """
    A message that is not in the wire format is an error, not a loop or a wrong answer.
    """
    with pytest.raises(ValueError, match=r"cut off|wire type|64 bits"):
        list(wire.whole(io.BytesIO(content)).fields())


def test_fields_are_read_as_written() -> None:
    """
    Fields of each kind come back with their numbers and values.
    """
    content = wire.field(1, 300) + wire.field(200, "größe") + wire.field(3, b"")
    number, text, empty = wire.whole(io.BytesIO(content)).fields()
    assert number == (1, 300)
    assert (text[0], empty[0]) == (200, 3)
    assert isinstance(text[1], wire.Span)
    assert isinstance(empty[1], wire.Span)
    assert (text[1].text(), empty[1].read()) == ("größe", b"")
