import pytest

from convoy.export.quantization.report import FLOAT32, IN_FULL, INT8, conclusions
from convoy.export.quantization.speed import Speed


def speeds(**rates: float) -> dict[str, Speed]:
    names = {"float32": FLOAT32, "int8": INT8, "in_full": IN_FULL}
    return {names[key]: Speed(images_per_s=rate, p50_ms=1) for key, rate in rates.items()}


@pytest.mark.parametrize(
    ("rates", "lines"),
    [
        ({"float32": 28, "int8": 101}, ["int8 runs 3.61 times the images/s of float32"]),
        (
            {"float32": 38_000, "int8": 20_000},
            [
                "warning: int8 is slower than float32 on this machine, 0.53 times the images/s: "
                "serve float32"
            ],
        ),
        (
            {"float32": 10, "int8": 30, "in_full": 40},
            [
                "int8 runs 3.00 times the images/s of float32",
                "the layers in float32 cost 25 % of the speed of all layers in int8",
            ],
        ),
    ],
)
def test_conclusions(rates: dict[str, float], lines: list[str]) -> None:
    """
    The gain, a warning where there is none, and the cost of layers in float32.
    """
    assert [*conclusions(speeds(**rates))] == lines
