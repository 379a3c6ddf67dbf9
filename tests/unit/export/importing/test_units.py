from pathlib import Path
from typing import Any

import pytest

from convoy.export.errors import GraphError
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.units import check_units

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def settings(mean: Any, std: Any) -> ImportSettings:
    return ImportSettings(file=Path("x.onnx"), mean=mean, std=std)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0,), (1,)),
        (MEAN, STD),
        ((0.5,), (0.5,)),
        ((1,), (1,)),
        ((0,), (0.00392156862745098,)),
        ((0.485, 0.456, 0.406), (1 / 255,)),
        ((0,), (1 / 256,)),
    ],
)
def test_values_for_pixels_of_0_to_1(mean: Any, std: Any) -> None:
    """
    The usual values are taken, those that make pixels of 0 to 255 among them.
    """
    check_units(settings(mean, std))


@pytest.mark.parametrize(
    ("mean", "std", "flags"),
    [
        # mmpretrain, EfficientNet-lite, TensorFlow, Caffe, and Keras's division by 255.
        (
            (123.675, 116.28, 103.53),
            (58.395, 57.12, 57.375),
            "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
        ),
        ((127,), (128,), "--mean 0.4980392157 --std 0.5019607843"),
        ((127.5,), (127.5,), "--mean 0.5 --std 0.5"),
        (
            (103.939, 116.779, 123.68),
            (1,),
            "--mean 0.4076039216,0.4579568627,0.4850196078 --std 0.003921568627",
        ),
        ((0,), (255,), "--mean 0 --std 1"),
        (MEAN, (58.395, 57.12, 57.375), "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"),
        # Means of 0 to 255 beside deviations of 0 to 1.
        ((123.675, 116.28, 103.53), STD, "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"),
        # A mean that is added, and a deviation that was divided by 255 twice.
        ((-0.5,), (0.5,), "--mean 0.5 --std 0.5"),
        ((-127.5,), (127.5,), "--mean 0.5 --std 0.5"),
        ((0.5,), (0.5 / 255,), "--mean 0.5 --std 0.5"),
        ((0,), (1e-9,), "--mean 0 --std 0.003921568627"),
    ],
)
def test_values_in_other_units(mean: Any, std: Any, flags: str) -> None:
    """
    Values that cannot be meant for pixels of 0 to 1 are refused, with the flags that say the same,
    which are accepted.
    """
    with pytest.raises(GraphError) as refused:
        check_units(settings(mean, std))
    assert f"give {flags}" in str(refused.value)
    _, new_mean, _, new_std = flags.split()
    check_units(settings(new_mean, new_std))


def test_factor_in_place_of_a_deviation() -> None:
    """
    Caffe's `scale: 0.017` multiplies; the message offers its deviation as well.
    """
    with pytest.raises(GraphError, match=r"give --mean 0\.4076.* --std 0\.2306805075$"):
        check_units(settings((103.94, 116.78, 123.68), (0.017,)))
