import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

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
        # Factors and offsets: x / 127.5 - 1 in four notations, and x * 4.367 - 2.118.
        ((-1,), (2,), "--mean 0.5 --std 0.5"),
        ((1,), (127.5,), "--mean 0.5 --std 0.5"),
        ((-1,), (127.5,), "--mean 0.5 --std 0.5"),
        ((-1,), (1 / 127.5,), "--mean 0.5 --std 0.5"),
        ((127.5,), (1 / 127.5,), "--mean 0.5 --std 0.5"),
        ((-2.118,), (4.367,), "--mean 0.485001145 --std 0.2289901534"),
        ((0.485,), (1 / 0.229,), "--mean 0.485 --std 0.229"),
        # MXNet's and ncnn's factors; a division by 255 that --std 1 contains.
        ((0,), (0.017,), "--mean 0 --std 0.2306805075"),
        ((0.5,), (0.00392157,), "--mean 0.4999998"),
        ((0.5,), (1 / 255,), "--mean 0.5 --std 1"),
    ],
)
def test_values_in_other_units(mean: Any, std: Any, flags: str) -> None:
    """
    Values that cannot be meant for pixels of 0 to 1 are refused, with the flags that say the same.
    """
    with pytest.raises(GraphError) as refused:
        check_units(settings(mean, std))
    assert f"give {flags}" in str(refused.value)


ADVICE = re.compile(r"for ([^;]+), give --mean (\S+) --std ([^\s;]+)")

NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2, 0.5, 127.5, 128, 255, 1 / 255, 1 / 127.5, 0.017, 0.485, 4.367]),
    st.floats(-300, 300).map(lambda value: float(f"{value:.4g}")),
)


@given(
    st.lists(NUMBERS, min_size=3, max_size=3) | st.lists(NUMBERS, min_size=1, max_size=1),
    st.lists(NUMBERS, min_size=3, max_size=3) | st.lists(NUMBERS, min_size=1, max_size=1),
)
@example(mean=[-1], std=[2])
@example(mean=[103.939, 116.779, 123.68], std=[1])
@example(mean=[1], std=[127.5])
@example(mean=[123.675, 116.28, 103.53], std=[0.01712475, 0.017507, 0.01742919])
def test_advice_says_the_same(mean: list[float], std: list[float]) -> None:
    """
    Each advised pair of flags is accepted, and makes the same of every pixel as its formula does.
    """
    std = [abs(value) for value in std]
    assume(all(value > 1e-6 for value in std))
    try:
        check_units(settings(tuple(mean), tuple(std)))
    except GraphError as error:
        refusal = str(error)
    else:
        return
    advice = ADVICE.findall(refusal)
    assert advice or "no flags say the same" in refusal
    for formula, new_mean, new_std in advice:
        advised = settings(new_mean, new_std)
        check_units(advised)
        pixel = np.arange(256.0)[:, None]
        expected = eval(formula, {"pixel": pixel, "mean": np.array(mean), "std": np.array(std)})
        made = (pixel / 255 - np.array(advised.mean)) / np.array(advised.std)
        assert np.allclose(made, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize(("mean", "std"), [((0,), (1e-9,)), ((-1,), (1,)), ((1000,), (3,))])
def test_no_flags_say_the_same(mean: Any, std: Any) -> None:
    """
    Numbers that make no sense in any convention are refused without inventing flags.
    """
    with pytest.raises(GraphError, match="no flags say the same for pixels of 0 to 1: give the"):
        check_units(settings(mean, std))


def test_factor_in_place_of_a_deviation() -> None:
    """
    Caffe's `scale: 0.017` multiplies; the message offers its deviation as well.
    """
    with pytest.raises(GraphError, match=r"give --mean 0\.4076.* --std 0\.2306805075$"):
        check_units(settings((103.94, 116.78, 123.68), (0.017,)))
