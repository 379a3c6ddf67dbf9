import copy
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import TensorsData

from convoy.artifact.manifest import Scheme
from convoy.export.onnx.session import open_session
from convoy.export.quantization.conversion import convert
from convoy.export.quantization.preparation import prepare
from convoy.export.quantization.ranges import measure_ranges
from convoy.export.quantization.selection import find_excluded, find_layers
from tests.harness import colours

IMAGES = colours.to_batch(np.concatenate([colours.pixels_of(label, 20, 1) for label in range(3)]))

Prepared = tuple[onnx.ModelProto, TensorsData]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    path = tmp_path_factory.mktemp("colours") / "model.onnx"
    onnx.save(colours.classifier(), path)
    model = prepare(path)
    (ranges,) = measure_ranges(model, [IMAGES])
    return model, ranges


def fused(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    """Return the operators of *model* as ONNX Runtime runs it, with their numbers."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "fused.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "fused.onnx").graph.node)


@pytest.mark.parametrize("scheme", ["u8s8", "u8u8"])  # s8s8 is fused on Arm only
def test_everything_between_input_and_scores_is_in_8_bits(
    scheme: Scheme, prepared: Prepared, tmp_path: Path
) -> None:
    """
    Batch norms, a shortcut, branches and a nameless MatMul are all computed in 8 bits; global
    pooling and softmax stay in float32.
    """
    operators = fused(convert(*prepared, scheme), tmp_path)
    assert operators["QLinearConv"] == 4
    assert (operators["QLinearAdd"], operators["QLinearConcat"], operators["QGemm"]) == (1, 1, 1)
    assert operators["GlobalAveragePool"] == operators["Softmax"] == 1
    assert not {"Conv", "Gemm", "Add", "Concat", "Relu"} & operators.keys()


def test_factors_of_a_product(tmp_path: Path) -> None:
    """
    A product and its bias keep their factors, also where layers share the bias.
    """
    model = onnx.parser.parse_model("""
        <ir_version: 7, opset_import: ["" : 13]>
        factors (float[N,4] pixels) => (float[N,4] logits)
        {
            hidden = Gemm <alpha = 0.5, beta = 3.0> (pixels, weight, bias)
            logits = Gemm <beta = 0.25> (hidden, weight, bias)
        }
    """)
    random = np.random.default_rng(4)
    for name, shape in (("weight", (4, 4)), ("bias", (4,))):
        values = random.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    onnx.save(model, tmp_path / "model.onnx")
    images = random.normal(size=(60, 4)).astype(np.float32)
    simple = prepare(tmp_path / "model.onnx")
    (ranges,) = measure_ranges(simple, [images])
    graphs = (model, convert(simple, ranges, "u8s8"))
    before, after = (
        open_session(graph.SerializeToString()).run(None, {"pixels": images})[0] for graph in graphs
    )
    assert np.abs(after - before).max() < 0.03 * np.ptp(before)


def test_weight_that_is_read_in_both_directions(tmp_path: Path) -> None:
    """
    A layer that reads the weight of another one transposed gets scales of its own.
    """
    model = onnx.parser.parse_model("""
        <ir_version: 7, opset_import: ["" : 13]>
        tied (float[N,4] pixels) => (float[N,4] logits)
        {
            code = Gemm (pixels, weight)
            positive = Relu (code)
            again = Gemm <transB = 1> (positive, weight)
            code_2 = Gemm (again, weight)
            positive_2 = Relu (code_2)
            logits = Gemm <transB = 1> (positive_2, weight)
        }
    """)
    random = np.random.default_rng(4)
    # Channels of different ranges, so that the scales of others give other answers.
    weight = random.normal(size=(4, 6)) * np.geomspace(0.1, 2, 4)[:, None]
    model.graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), "weight"))
    onnx.save(model, tmp_path / "model.onnx")
    images = random.normal(size=(60, 4)).astype(np.float32)
    simple = prepare(tmp_path / "model.onnx")
    assert len(simple.graph.initializer) == 2
    (ranges,) = measure_ranges(simple, [images])
    graphs = (model, convert(simple, ranges, "u8s8"))
    before, after = (
        open_session(graph.SerializeToString()).run(None, {"pixels": images})[0] for graph in graphs
    )
    assert np.abs(after - before).max() < 0.03 * np.ptp(before)


@pytest.mark.parametrize(
    ("scheme", "activation", "weight"),
    [("u8s8", np.uint8, np.int8), ("u8u8", np.uint8, np.uint8), ("s8s8", np.int8, np.int8)],
)
def test_scheme_is_that_of_the_numbers(
    scheme: Scheme, activation: type, weight: type, prepared: Prepared
) -> None:
    """
    Weights have a scale for each channel, and their zero in the middle of their type.
    """
    model = convert(*prepared, scheme)
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    weights = [name for name in values if name.endswith("_quantized") and values[name].ndim > 1]
    assert len(weights) == 5
    for name in weights:
        zeros = values[name.replace("_quantized", "_zero_point")]
        assert values[name].dtype == weight
        assert (zeros == (128 if weight is np.uint8 else 0)).all()
        assert len(zeros) in values[name].shape
    assert values["pixels_zero_point"].dtype == activation


def test_layers_are_left_out(prepared: Prepared, tmp_path: Path) -> None:
    """
    A layer that stays in float32 takes the operators around it along, up to where branches meet.
    """
    model, ranges = prepared
    layers = find_layers(model)
    assert len(layers) == 5
    operators = fused(convert(model, ranges, "u8s8", without=layers[3:4]), tmp_path)
    assert (operators["QLinearConv"], operators["QLinearConcat"]) == (3, 0)
    operators = fused(convert(model, ranges, "u8s8", only=layers[:1]), tmp_path)
    assert operators["QLinearConv"] == 1
    assert operators["QGemm"] == 0


def test_ranges_are_kept(prepared: Prepared) -> None:
    """
    ONNX Runtime's quantiser changes the ranges that it is given; a second conversion gets the same.
    """
    model, ranges = prepared
    before = {name: copy.deepcopy(tensor.range_value) for name, tensor in ranges.items()}
    first = convert(model, ranges, "u8s8")
    assert {name: tensor.range_value for name, tensor in ranges.items()} == before
    assert convert(model, ranges, "u8s8") == first


@pytest.mark.parametrize(
    ("body", "excluded"),
    [
        # The first layer comes after the normalisation.
        ("a = Add (x, two) b = Conv (a, w) c = GlobalAveragePool (b) y = Flatten (c)", "a"),
        # The scores come from a convolution, or behind a scale and a softmax.
        ("a = Conv (x, w) b = Conv (a, w) y = Flatten (b)", "b"),
        (
            "a = Conv (x, w) b = Add (a, x) c = Mul (b, two) d = Flatten (c) y = Softmax (d)",
            "bc",
        ),
        # Steps of a normalisation in the middle.
        (
            "a = Conv (x, w) b = Mul (a, two) c = Conv (b, w) d = Relu (c) y = LRN <size = 3> (d)",
            "b",
        ),
        # Products of two activations.
        (
            "a = Conv (x, w) b = Relu (a) c = MatMul (a, b) d = Conv (c, w) "
            "e = GlobalAveragePool (d) y = Flatten (e)",
            "c",
        ),
    ],
)
def test_nodes_that_stay_in_float32(body: str, excluded: str) -> None:
    """
    Normalisation, scores and arithmetic inside of a layer keep their precision.
    """
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N,3,3,3] x) => (float[N,K] y)
        <float[3,3,1,1] w = {{ 1, 0, 0, 0, 1, 0, 0, 0, 1 }}, float two = {{ 2 }}>
        {{ {body} }}
    """)
    for node in model.graph.node:
        node.name = node.output[0]
    convertible = {
        n.name for n in model.graph.node if n.op_type in ("Add", "Mul", "Conv", "MatMul")
    }
    assert find_excluded(model) & convertible == {*excluded}


def test_answers_are_near(prepared: Prepared) -> None:
    """
    8 bits change no probability of a well-behaved network much.
    """
    model, ranges = prepared
    before, after = (
        open_session(graph.SerializeToString()).run(None, {"pixels": IMAGES})[0]
        for graph in (model, convert(model, ranges, "u8s8"))
    )
    assert 0 < np.abs(after - before).max() < 0.1
