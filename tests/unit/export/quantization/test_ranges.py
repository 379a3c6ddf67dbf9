import numpy as np
import onnx.parser
import pytest

from convoy.export.quantization.ranges import growth, measure_ranges

MODEL = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[N,1] x) => (float[N,1] z)
    <float nothing = { 0 }>
    { y = Neg (x) a = Mul (x, nothing) z = Relu (y) }
""")


def batch(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, np.newaxis]


def test_ranges_add_up() -> None:
    """
    Each part widens the ranges of the parts before it.
    """
    first, both = measure_ranges(MODEL, [batch(-1, 0), batch(1)], [batch(-3, 0)])
    assert [end.item() for end in first["y"].range_value] == [-1, 1]
    assert [end.item() for end in both["y"].range_value] == [-1, 3]


def test_growth() -> None:
    """
    The share of a range that the later images added; a value that never varies does not count.
    """
    first, both = measure_ranges(MODEL, [batch(-1, 1)], [batch(-3)])
    # x and y grow from 2 to 4, z from 1 to 3.
    assert growth(first, both) == pytest.approx(((0.5 + 0.5 + 2 / 3) / 3, 2 / 3))
    assert growth(first, first) == (0, 0)
