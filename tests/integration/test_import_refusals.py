"""Files that import refuses: one line that says what helps, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from convoy.__main__ import main
from convoy.artifact.errors import RepositoryError
from convoy.export.errors import DataError, GraphError, ProofError
from convoy.service.runtime.device import Device
from convoy.service.runtime.runs import OPENVINO
from convoy.service.runtime.session import Session
from tests.harness import foreign
from tests.harness.foreign import FEATURES, labels, made, run

CPU = Device(policy="cpu", cores=1)
STD = (0.229, 0.224, 0.225)


@pytest.mark.skipif(OPENVINO not in onnxruntime.get_available_providers(), reason="another build")
def test_runtime_that_does_not_report_memory(tmp_path: Path) -> None:
    """
    The ONNX Runtime of the extra openvino serves models; where to make them is said.
    """
    with pytest.raises(GraphError, match="make models in an environment with the extra cpu"):
        run(made(tmp_path), tmp_path / "models")


@pytest.mark.parametrize(
    ("graph", "options", "message"),
    [
        ({"batch": 4}, {}, "batches of exactly 4 images.*dynamic_shapes"),
        ({"batch": 1}, {"max_batch_size": 8}, "--max-batch-size 8"),
        ({"sides": ("h", "w")}, {}, "give --crop"),
        ({"channels": "c", "sides": ("h", "w")}, {}, "give --layout"),
        ({"channels": "c"}, {"layout": "NCHW"}, "give --color"),
        ({}, {"color": "L"}, "--color L has 1 channel"),
        ({}, {"layout": "NHWC"}, "has 8 channels"),
        ({}, {"crop": (7, 8)}, "takes 8x8 pixels, which is not --crop 7x8"),
        ({}, {"pad": 4}, "takes 8x8 pixels"),
        ({}, {"resize": 7}, "--resize 7 is smaller than the crop, 8x8"),
        ({}, {"mean": (1, 2)}, "--mean has 2 numbers"),
        ({"channels": 1}, {"std": STD}, "--std has 3 numbers"),
        ({"element": TensorProto.UINT8}, {"normalization": "server"}, "--normalization graph"),
        ({"element": TensorProto.UINT8}, {"mean": (0.5,)}, "neither --mean nor --std. Leave them"),
        ({"element": TensorProto.UINT8}, {"std": STD}, "or with a float32 input"),
        ({"element": TensorProto.UINT8}, {"std": (58.395,)}, "or with a float32 input"),
        ({}, {"normalization": "graph", "std": STD}, "or give --normalization server"),
        ({"element": TensorProto.DOUBLE}, {}, "is double, not uint8, float32 or float16"),
        ({"outputs": ["box"]}, {}, r"no scores of two or more classes; it gives box \(int64"),
        ({"outputs": ["logits", "features"]}, {}, "several outputs.*choose one with --output"),
        ({"outputs": ["logits", "map"]}, {}, "several outputs.*choose one with --output"),
        ({}, {"output": "other"}, "no output 'other' with scores"),
    ],
)
def test_graphs_that_cannot_be_served(
    tmp_path: Path, graph: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    """
    The error names the fault and the flag that helps; nothing is written.
    """
    with pytest.raises(GraphError, match=message) as caught:
        run(made(tmp_path, **graph), tmp_path / "models", **options)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "models").rglob("*"))


def test_labels_must_fit(tmp_path: Path) -> None:
    """
    One label too few is an error with both numbers in it.
    """
    with pytest.raises(GraphError, match=r"no scores of 4 classes; it gives logits .*\[N, 5\]"):
        run(made(tmp_path), tmp_path, labels=labels(tmp_path, "a\nb\nc\nd"))
    with pytest.raises(DataError, match=r"cannot read the labels .*: No such file"):
        run(made(tmp_path), tmp_path, labels=tmp_path / "none")


def baked(batch_size: int) -> onnx.ModelProto:
    """A graph that says it takes any batch, and takes only one size."""
    made = foreign.classifier()
    graph = made.graph
    graph.initializer.append(numpy_helper.from_array(np.array([batch_size, FEATURES]), "flat"))
    (flatten,) = (node for node in graph.node if node.op_type == "Flatten")
    flatten.CopyFrom(helper.make_node("Reshape", ["pooled", "flat"], ["features"]))
    return made


def test_batch_size_fixed_by_the_graph(tmp_path: Path) -> None:
    """
    A batch size that is fixed in the graph fails the proof, unless it is the limit.
    """
    file = foreign.save(baked(1), tmp_path / "baked.onnx")
    with pytest.raises(GraphError, match=r"at batch 2 the graph fails.*--max-batch-size 1 serves"):
        run(file, tmp_path)
    artifact, _ = run(file, tmp_path, max_batch_size=1)
    assert len(artifact.golden.images) == 1
    Session(artifact, CPU)


def test_images_that_influence_each_other(tmp_path: Path) -> None:
    """
    A graph that takes its statistics from the batch answers otherwise in company.
    """
    made = foreign.classifier()
    nodes = list(made.graph.node)
    (gemm,) = (index for index, node in enumerate(nodes) if node.op_type == "Gemm")
    nodes[gemm].output[0] = "alone"
    nodes[gemm + 1 : gemm + 1] = [
        helper.make_node("ReduceMean", ["alone"], ["average"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["alone", "average"], ["difference"]),
        helper.make_node("Add", ["alone", "difference"], ["logits"]),
    ]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    file = foreign.save(made, tmp_path / "company.onnx")
    with pytest.raises(ProofError, match=r"influence each other: .*\(ReduceMean average"):
        run(file, tmp_path)


def test_constant_answers_are_refused(tmp_path: Path) -> None:
    """
    Golden answers that do not depend on the image would prove nothing.
    """
    with pytest.raises(ProofError, match=r"the same answer .* are --mean"):
        run(made(tmp_path, bias=1e7), tmp_path)


def test_answers_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """
    A graph that overflows is not served.
    """
    with pytest.raises(ProofError, match="not finite"):
        run(made(tmp_path, bias=float("nan")), tmp_path)


@pytest.mark.parametrize(
    "where",
    [
        "convoy.export.importing.reference.prove",
        "convoy.export.importing.import_writer.measure_memory",
        "pathlib.Path.rename",
    ],
)
def test_interrupted_import_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """
    Ctrl-C leaves no half-written version behind, whenever it comes.
    """

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    file = made(tmp_path)
    monkeypatch.setattr(where, interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(file, tmp_path / "models")
    assert not list((tmp_path / "models").rglob("*"))


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    """
    The image is the one input; weights that old graphs list among them do not count.
    """
    old = foreign.classifier()
    for tensor in old.graph.initializer:
        old.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    artifact, _ = run(foreign.save(old, tmp_path / "old.onnx"), tmp_path)
    assert artifact.manifest.input.name == "pixels"
    Session(artifact, CPU)
    old.graph.input.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, []))
    with pytest.raises(GraphError, match=r"must have one input.* it has 2: pixels, scale"):
        run(foreign.save(old, tmp_path / "old.onnx"), tmp_path)


def too_new(field: str) -> bytes:
    made = foreign.classifier()
    if field == "ir":
        made.ir_version = 99
    else:
        made.opset_import[0].version = 99
    return made.SerializeToString()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"not an ONNX file", "is not an ONNX file, or it is damaged"),
        (b"\x08\x08", "is not an ONNX file, or its graph is empty"),
        (foreign.classifier().SerializeToString()[:-50], "is not an ONNX file, or it is damaged"),
        (
            foreign.classifier().SerializeToString().replace(b"pixels", b"\xffixels"),
            r"no manifest can describe it: name: .* string|cannot be opened|utf-8",
        ),
        (too_new("ir"), r"ONNX Runtime \S+: .*bad.onnx.*IR version: 99, max supported"),
        (too_new("opset"), r"ONNX Runtime \S+: .*bad.onnx.*Opset 99 is under development.*"),
    ],
)
def test_bad_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    """
    A file that cannot be opened is an error of one line that names it.
    """
    file = tmp_path / "bad.onnx"
    file.write_bytes(content)
    with pytest.raises(GraphError, match=message) as caught:
        run(file, tmp_path)
    assert capfd.readouterr() == ("", "")
    assert "bad.onnx" in str(caught.value)
    assert ".writing-" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_graph(tmp_path: Path) -> None:
    """
    A folder and a missing file are what they are.
    """
    with pytest.raises(GraphError, match="is a folder without a file MLmodel"):
        run(tmp_path, tmp_path)
    with pytest.raises(GraphError, match="No such file"):
        run(tmp_path / "none.onnx", tmp_path)


def test_too_large_for_one_file(tmp_path: Path) -> None:
    """
    Weights beside the graph count, as they have to go into it; they are not read first.
    """
    file = tmp_path / "large.onnx"
    onnx.save(
        foreign.classifier(), file, save_as_external_data=True, location="weights", size_threshold=0
    )
    (tmp_path / "weights").unlink()
    model = onnx.load(file, load_external_data=False)
    model.graph.initializer[0].dims[:] = [1 << 20, 1 << 9]  # 2 GiB of float32
    file.write_bytes(model.SerializeToString())
    with pytest.raises(GraphError, match="bytes with its weights, but one ONNX file holds"):
        run(file, tmp_path)


def test_bad_golden_images(tmp_path: Path) -> None:
    """
    A file that is no image is named, and so is a folder without one.
    """
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    for path, message in (
        ("bad.png", "bad.png: this is text; convoy reads"),
        ("empty", "no images"),
        ("x", "x: No"),
    ):
        with pytest.raises(DataError, match=message):
            run(made(tmp_path), tmp_path, golden=(tmp_path / path,))


def test_unwritable_repository(tmp_path: Path) -> None:
    """
    The error comes before any work is done.
    """
    (tmp_path / "file").touch()
    with pytest.raises(RepositoryError, match="cannot write"):
        run(tmp_path / "none.onnx", tmp_path / "file")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.onnx"], 1, "convoy import: cannot read none.onnx: No such file or directory\n"),
        (["none.onnx", "--crop", "big"], 2, "--crop: "),
        (["none.onnx", "--crop", "0"], 2, "not a size in pixels: expected one such as 224"),
        (["none.onnx", "--std", "1,0,1"], 2, "--std: "),
        (["none.onnx", "--mean", "nan"], 2, "--mean: "),
        (["none.onnx", "--std", "inf"], 2, "--std: "),
        (["none.onnx", "--mean", "a"], 2, "--mean: "),
        (["none.onnx", "--name", "../up"], 2, "--name: "),
        (["Ü.onnx"], 1, "no model name can be made from the file name"),
        ([], 2, "FILE"),
    ],
)
def test_command_line_errors(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    """
    A mistake on the command line is one line and an exit code.
    """
    assert main(["import", *arguments, "--model-repository", str(tmp_path)]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in f"{line}\n"
