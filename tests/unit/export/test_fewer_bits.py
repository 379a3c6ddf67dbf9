"""Graphs in half precision and in 8 bits: what both keep, and what each must be."""

import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from convoy.artifact.files import read_artifact
from convoy.artifact.golden import TOLERANCES
from convoy.export import data
from convoy.export.data import Split
from convoy.export.data.held_out import HeldOut
from convoy.export.describing.layer_table import describe_graph
from convoy.export.errors import PrecisionError
from convoy.export.onnx.half_precision import halve
from convoy.export.quantization.conversion import convert
from convoy.export.quantization.interface import Interface
from convoy.export.quantization.preparation import prepare
from convoy.export.quantization.ranges import measure_ranges
from convoy.export.quantization.verification import Bounds, compare, objection

ARTIFACT = read_artifact(Path("tests/data/model_repository/lenet5/1"))
ReducedPrecision = Literal["float16", "int8"]
PRECISIONS: tuple[ReducedPrecision, ...] = ("float16", "int8")
SIDE = 12
LAYERS = (
    ("a", 8, 3, 3, 3),
    ("b", 8, 8, 1, 1),
    ("c", 8, 8, 3, 3),
    ("d", 16, 16, 3, 3),
    ("e", 5, 64),
)
BRANCHED = f"""
<ir_version: 10, opset_import: ["" : 20]>
branched (uint8[N,{SIDE},{SIDE},3] image) => (float[N,5] logits, float[N,5] probabilities)
<float scale = {{0.016}}, float shift = {{-2.0}}, int64[2] flat = {{-1, 64}},
 float[4] scales = {{1.0, 1.0, 2.0, 2.0}}>
{{
    planes = Transpose <perm = [0, 3, 1, 2]> (image)
    wide = Cast <to = 1> (planes)
    scaled = Mul (wide, scale)
    normalised = Add (scaled, shift)
    conv_a = Conv <pads = [1, 1, 1, 1]> (normalised, w_a, b_a)
    relu_a = Relu (conv_a)
    pool_a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (relu_a)
    lrn = LRN <size = 5, alpha = 0.01, bias = 2.0> (pool_a)
    conv_b = Conv (lrn, w_b, b_b)
    relu_b = Relu (conv_b)
    conv_c = Conv <pads = [1, 1, 1, 1]> (lrn, w_c, b_c)
    relu_c = Relu (conv_c)
    joined = Concat <axis = 1> (relu_b, relu_c)
    conv_d = Conv <pads = [1, 1, 1, 1]> (joined, w_d, b_d)
    sum = Add (conv_d, joined)
    relu_d = Relu (sum)
    pool_d = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (relu_d)
    means = GlobalAveragePool (pool_d)
    grown = Resize <mode = "nearest"> (means, , scales)
    features = Reshape (grown, flat)
    logits = Gemm <transB = 1> (features, w_e, b_e)
    probabilities = Softmax <axis = 1> (logits)
}}
"""


def reduce(source: Path, target: Path, precision: ReducedPrecision, images: np.ndarray) -> None:
    """Write the graph of *source* to *target* in another precision; int8 is u8s8."""
    if precision == "float16":
        halve(source, target, [images])
        return
    model = prepare(source)
    (ranges,) = measure_ranges(model, [images])
    onnx.save(convert(model, ranges, "u8s8"), target)


def open_session(path: Path, *, optimised: bool = True) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])


def logits(path: Path, images: np.ndarray, *, optimised: bool = True) -> np.ndarray:
    return open_session(path, optimised=optimised).run(["logits"], {"image": images})[0]


def difference(expected: np.ndarray, actual: np.ndarray) -> float:
    """The largest, as a share of the range."""
    return float(np.abs(expected - actual).max() / np.ptp(expected))


def fused_operators(path: Path, folder: Path) -> list[str]:
    """Return the operators of a graph after ONNX Runtime's optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]


@pytest.fixture(scope="module")
def digits() -> data.DataSet:
    return data.load("mnist5k")


@pytest.fixture(scope="module")
def training_images(digits: data.DataSet) -> np.ndarray:
    part = Split(digits.train.sources[::28], digits.train.labels[::28])
    return part.pixels(ARTIFACT.manifest.preprocessing)


@pytest.fixture(scope="module")
def test_images(digits: data.DataSet) -> np.ndarray:
    return digits.test.pixels(ARTIFACT.manifest.preprocessing)


@pytest.fixture(scope="module")
def float32(test_images: np.ndarray) -> np.ndarray:
    return logits(ARTIFACT.model_path, test_images)


@pytest.fixture(scope="module")
def graphs(
    training_images: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> dict[ReducedPrecision, Path]:
    folder = tmp_path_factory.mktemp("graphs")
    paths = {precision: folder / f"{precision}.onnx" for precision in PRECISIONS}
    for precision, path in paths.items():
        reduce(ARTIFACT.model_path, path, precision, training_images)
    return paths


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("precision", PRECISIONS)
def test_costs_stay_the_same(
    graphs: dict[ReducedPrecision, Path], precision: ReducedPrecision
) -> None:
    """
    The layer table of a converted graph has the costs of the float32 one.
    """
    manifest = ARTIFACT.manifest
    table = describe_graph(graphs[precision], manifest.input, "converted")
    assert (table.parameters, table.macs) == (manifest.parameter_count, manifest.macs)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_accuracy_is_kept(
    precision: ReducedPrecision,
    graphs: dict[ReducedPrecision, Path],
    digits: data.DataSet,
    test_images: np.ndarray,
    float32: np.ndarray,
) -> None:
    """
    On 1,000 digits that it never saw, the converted network is as good within half a point.
    """
    converted = logits(graphs[precision], test_images)
    found = compare(
        HeldOut(name="digits", images=digits.test, sha256="0" * 64),
        Interface.of(ARTIFACT.manifest),
        float32,
        converted,
    )
    assert found.images == 1000
    assert found.right_before is not None
    assert found.right_before > 950
    assert found.accuracy_loss is not None
    assert found.accuracy_loss <= 0.5
    assert 0 < difference(float32, converted) < {"float16": 1e-3, "int8": 2e-2}[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_batch_size_changes_no_answer(
    precision: ReducedPrecision, graphs: dict[ReducedPrecision, Path], test_images: np.ndarray
) -> None:
    """
    An image's logits are the same alone, among five and among 64.
    """
    session = open_session(graphs[precision])
    (expected,) = session.run(["logits"], {"image": test_images[:64]})
    for size in (1, 5):
        (actual,) = session.run(["logits"], {"image": test_images[:size]})
        assert np.abs(actual - expected[:size]).max() / np.ptp(expected) < 5e-3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_inputs_and_outputs_stay(
    precision: ReducedPrecision, graphs: dict[ReducedPrecision, Path]
) -> None:
    """
    Names, shapes and types are those of the float32 graph.
    """
    before, after = (
        [(t.name, t.type, t.shape) for t in session.get_inputs() + session.get_outputs()]
        for session in (open_session(ARTIFACT.model_path), open_session(graphs[precision]))
    )
    assert after == before


def test_logits_of_int8_are_not_rounded(
    graphs: dict[ReducedPrecision, Path], test_images: np.ndarray
) -> None:
    """
    They take more than the 256 values of a byte.
    """
    assert len(np.unique(logits(graphs["int8"], test_images))) > 256


@pytest.mark.parametrize(("precision", "share"), [("float16", 0.52), ("int8", 0.34)])
def test_file_is_smaller(
    precision: ReducedPrecision, share: float, graphs: dict[ReducedPrecision, Path]
) -> None:
    """
    Half of the bytes, or a quarter and the scales, which tell in a small network.
    """
    assert graphs[precision].stat().st_size < share * ARTIFACT.model_path.stat().st_size


def test_weights_are_half(graphs: dict[ReducedPrecision, Path]) -> None:
    """
    No float32 number is left.
    """
    initializers = onnx.load(graphs["float16"]).graph.initializer
    assert {tensor.data_type for tensor in initializers} == {TensorProto.FLOAT16, TensorProto.INT64}


def test_weights_are_quantized_per_channel(graphs: dict[ReducedPrecision, Path]) -> None:
    """
    Signed bytes around 0, with a scale for each output channel.
    """
    values = {t.name: numpy_helper.to_array(t) for t in onnx.load(graphs["int8"]).graph.initializer}
    layers = [name.removesuffix("_quantized") for name in values if name.endswith("t_quantized")]
    assert len(layers) == 5
    for layer in layers:
        weights, zeros = values[f"{layer}_quantized"], values[f"{layer}_zero_point"]
        assert weights.dtype == np.int8
        assert values[f"{layer}_scale"].shape == (len(weights),)
        assert (zeros == 0).all()


def test_int8_is_computed_in_8_bits(graphs: dict[ReducedPrecision, Path], tmp_path: Path) -> None:
    """
    ONNX Runtime fuses every convolution and matrix product; none is left in float32.
    """
    operators = fused_operators(graphs["int8"], tmp_path)
    assert operators.count("QLinearConv") == 2
    assert operators.count("QGemm") == 3
    assert not {"Conv", "Gemm"} & set(operators)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_graph_is_clean(
    precision: ReducedPrecision,
    training_images: np.ndarray,
    tmp_path: Path,
    scratch: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """
    One file, silently: same operator sets, no notes of the tools, no other file anywhere.
    """
    target = tmp_path / "graph" / "model.onnx"
    target.parent.mkdir()
    reduce(ARTIFACT.model_path, target, precision, training_images[:8])
    assert [*target.parent.iterdir()] == [target]
    assert not [*scratch.iterdir()]
    assert capfd.readouterr() == ("", "")
    before, after = onnx.load(ARTIFACT.model_path), onnx.load(target)
    assert after.opset_import == before.opset_import
    assert after.ir_version == before.ir_version
    assert not after.metadata_props
    assert not any(tensor.external_data for tensor in after.graph.initializer)


def test_half_arithmetic_is_good_enough(
    graphs: dict[ReducedPrecision, Path], test_images: np.ndarray, float32: np.ndarray
) -> None:
    """
    With every step rounded to half, as on a GPU, the answers are within the golden tolerance;
    probabilities are not rounded.
    """
    model = onnx.load(graphs["float16"])
    answers = ReferenceEvaluator(model).run(None, {"image": test_images[::100]})
    half, probabilities = map(np.asarray, answers)
    expected = float32[::100]
    assert difference(expected, half) < TOLERANCES["float16"] / 10
    assert (half.argmax(1) == expected.argmax(1)).all()
    assert np.abs(probabilities.sum(1) - 1).max() < 1e-6


def test_optimisations_keep_the_golden_answers(
    graphs: dict[ReducedPrecision, Path], test_images: np.ndarray
) -> None:
    """
    The graph as a server runs it answers as the graph taken literally does.
    """
    literal = logits(graphs["int8"], test_images, optimised=False)
    assert difference(literal, logits(graphs["int8"], test_images)) < TOLERANCES["int8"] / 2


@pytest.fixture(scope="module")
def branched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A graph with two branches, a shortcut, LRN, poolings, a Resize and random weights.
    """
    model = onnx.parser.parse_model(BRANCHED)
    random = np.random.default_rng(0)
    for name, *shape in LAYERS:
        weights = random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        for key, values in ((f"w_{name}", weights), (f"b_{name}", random.normal(0, 0.1, shape[0]))):
            tensor = numpy_helper.from_array(values.astype(np.float32), key)
            model.graph.initializer.append(tensor)
    # PyTorch's exporter notes the types of constants, too.
    scales = helper.make_tensor_value_info("scales", TensorProto.FLOAT, [4])
    model.graph.value_info.append(scales)
    for index, node in enumerate(model.graph.node):
        node.name = f"node{index}"
    path = tmp_path_factory.mktemp("branched") / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(("precision", "tolerance"), [("float16", 1e-3), ("int8", 3e-2)])
def test_branches_shortcuts_and_lrn_convert(
    precision: ReducedPrecision, tolerance: float, branched: Path, tmp_path: Path
) -> None:
    """
    The operators of the other networks survive, and the graph answers as before.
    """
    images = np.random.default_rng(1).integers(0, 256, (64, SIDE, SIDE, 3), np.uint8)
    target = tmp_path / "model.onnx"
    reduce(branched, target, precision, images[32:])
    assert difference(logits(branched, images), logits(target, images)) < tolerance


def test_lrn_is_computed_in_float32(branched: Path, tmp_path: Path) -> None:
    """
    Half precision would overflow in the squares.
    """
    images = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    reduce(branched, tmp_path / "half.onnx", "float16", images)
    nodes = onnx.load(tmp_path / "half.onnx").graph.node
    (lrn,) = (node for node in nodes if node.op_type == "LRN")
    (before,) = (node for node in nodes if lrn.input[0] in node.output)
    assert before.op_type == "Cast"
    assert helper.get_node_attr_value(before, "to") == TensorProto.FLOAT


def test_additions_and_concatenations_are_fused(branched: Path, tmp_path: Path) -> None:
    """
    Between convolutions, nothing but LRN goes back to float32.
    """
    images = np.random.default_rng(1).integers(0, 256, (8, SIDE, SIDE, 3), np.uint8)
    reduce(branched, tmp_path / "int8.onnx", "int8", images)
    operators = fused_operators(tmp_path / "int8.onnx", tmp_path)
    assert {"QLinearAdd", "QLinearConcat", "QLinearAveragePool"} <= set(operators)
    assert operators.count("QLinearConv") == 4


def test_numbers_beyond_half_are_refused(
    training_images: np.ndarray, tmp_path: Path, scratch: Path
) -> None:
    """
    A network whose activations overflow is found out here, not on a GPU; no file is left.
    """
    model = onnx.load(ARTIFACT.model_path)
    (weights,) = (t for t in model.graph.initializer if t.name == "network.conv1.weight")
    weights.CopyFrom(numpy_helper.from_array(1e5 * numpy_helper.to_array(weights), weights.name))
    source, target = tmp_path / "large.onnx", tmp_path / "half.onnx"
    onnx.save(model, source)
    with pytest.raises(PrecisionError, match=r"^float16 ends at 65504, but conv2d in the graph"):
        reduce(source, target, "float16", training_images)
    assert not target.exists()
    assert not [*scratch.iterdir()]


def test_lost_accuracy_is_refused(
    digits: data.DataSet, test_images: np.ndarray, float32: np.ndarray, tmp_path: Path
) -> None:
    """
    Calibrated on a black image, 8 bits cover too little; the message says all that matters.
    """
    target = tmp_path / "int8.onnx"
    reduce(ARTIFACT.model_path, target, "int8", np.zeros_like(test_images[:1]))
    test = HeldOut(name="digits", images=digits.test, sha256="0" * 64)
    converted = logits(target, test_images)
    found = compare(test, Interface.of(ARTIFACT.manifest), float32, converted)
    assert found.accuracy_loss is not None
    assert found.accuracy_loss > 10
    bounds = Bounds(max_accuracy_loss=1, min_agreement=0)
    assert objection([found], bounds) == (
        f"loses {found.accuracy_loss:g} points of top-1 accuracy: {found.right} of 1000 images of "
        f"digits are right, {found.right_before} in float32; --max-accuracy-loss allows 1"
    )
