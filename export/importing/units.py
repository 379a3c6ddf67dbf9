"""The units of --mean and --std: values that cannot be meant for pixels of 0 to 1 are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Protocol

from convoy.export.errors import GraphError
from convoy.export.importing.import_settings import ImportSettings

_WHOLE = (1 / 260, 1 / 250)
"""Deviations that make pixels of 0 to 255 or 256, as the networks of Caffe and Keras take them."""

_LEAST_STD = 0.03
"""Any other deviation below it, of fewer than 8 shades of grey, is a factor or in other units."""

_LEAST_MEAN, _LARGEST_MEAN = 0.01, 0.99
"""Limits on the mean colours that are advised."""

_MEANINGS: dict[str, Callable[[float, float], tuple[float, float]]] = {
    "(pixel - mean) / std": lambda mean, std: (1 / std, -mean / std),
    "(pixel - mean) * std": lambda mean, std: (std, -mean * std),
    "(pixel - mean) / 255 / std": lambda mean, std: (1 / 255 / std, -mean / 255 / std),
    "pixel / std - mean": lambda mean, std: (1 / std, -mean),
    "pixel * std - mean": lambda mean, std: (std, -mean),
    "(pixel / 255 - mean) / std": lambda mean, std: (1 / 255 / std, -mean / std),
    "(pixel / 255 - mean) * std": lambda mean, std: (std / 255, -mean * std),
    "(pixel / 255 - mean) / (std / 255)": lambda mean, std: (1 / std, -mean * 255 / std),
    "(pixel / 255 - mean) / (std * 255)": lambda mean, std: (
        1 / 255 / 255 / std,
        -mean / 255 / std,
    ),
    "pixel / 255 * std - mean": lambda mean, std: (std / 255, -mean),
    "pixel / 255 / std - mean": lambda mean, std: (1 / 255 / std, -mean),
}
"""Conventions of other programs for two numbers, with pixels of 0 to 255: Caffe, ncnn, MXNet,
Keras, OpenVINO, OpenCV and ONNX models. Each gives the factor and the offset of a pixel."""


class Normalizing(Protocol):
    """Options, or a recipe, with means and deviations: one of all channels, or one per channel."""

    @property
    def mean(self) -> tuple[float, ...]: ...
    @property
    def std(self) -> tuple[float, ...]: ...


def is_given(settings: ImportSettings) -> bool:
    """Return whether --mean and --std change a pixel."""
    return any(settings.mean) or any(std != 1 for std in settings.std)


def makes_whole_pixels(settings: ImportSettings) -> bool:
    """Return whether pixels that are divided by --std have a range of about 0 to 255."""
    return min(settings.std) < 1 / 100


def check_units(settings: Normalizing) -> None:
    """
    Refuse means and deviations that cannot be meant for (pixel / 255 - mean) / std.

    Raises:
        GraphError: If one cannot; the message names each convention that they can be meant for,
            and prints the flags that say exactly the same.
    """
    mean, std = settings.mean, settings.std
    if problem := _problem(mean, std):
        raise GraphError(f"{_flags(mean, std)} {problem}; {_advice(mean, std)}")


def _problem(mean: tuple[float, ...], std: tuple[float, ...]) -> str | None:
    """Return why the numbers cannot be meant as they are; None if they can."""
    # Mean colours and deviations of pixels of 0 to 255, or factors of pixels of 0 to 1.
    if max(map(abs, mean)) > 1 or max(std) > 1:
        return "cannot be meant for pixels of 0 to 1: (pixel / 255 - mean) / std"
    # The sign of a mean that is added was kept.
    if min(mean) < 0:
        return "subtracts a negative mean from pixels, which are never negative"
    # Whole pixels, as Caffe takes them: p - mean. Nobody subtracts 127.5 and divides by nothing.
    is_half = all(value == 0.5 for value in mean)
    if _WHOLE[0] <= min(std) <= max(std) <= _WHOLE[1] and not is_half:
        return None
    # Factors (Caffe's `scale: 0.017`), or deviations that were divided by 255 twice.
    if min(std) < _LEAST_STD:
        return f"makes pixels of up to {1 / min(std):,.0f}: (pixel / 255 - mean) / std"
    return None


def _advice(mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """Print flags that say the same, for each convention by which the numbers make sense."""
    advice = dict[str, str]()
    for formula, flags in _meant(mean, std):
        advice.setdefault(flags, f"for {formula}, give {flags}")
    if not advice:
        return (
            "no flags say the same for pixels of 0 to 1: give the mean and the deviation that the "
            "network was trained with, such as --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
        )
    return "; ".join(advice.values())


def _meant(mean: tuple[float, ...], std: tuple[float, ...]) -> list[tuple[str, str]]:
    """Return conventions by which the numbers make sense, and the flags that say the same."""
    length = max(len(mean), len(std))
    # One number holds for every channel.
    pairs = list(zip(*(values * (length // len(values)) for values in (mean, std)), strict=True))
    found = []
    for sign, (formula, convention) in product((1, -1), _MEANINGS.items()):
        lines = [convention(sign * a_mean, a_std) for a_mean, a_std in pairs]
        new_std = tuple(1 / (255 * factor) for factor, _ in lines)
        # -0.0 is written as 0.
        new_mean = tuple(-offset * s + 0.0 for (_, offset), s in zip(lines, new_std, strict=True))
        is_usual = all(not m or _LEAST_MEAN < m < _LARGEST_MEAN for m in new_mean)
        if is_usual and not _problem(new_mean, new_std):
            written = formula if sign == 1 else formula.replace("- mean", "+ mean")
            found.append((written, _flags(new_mean, new_std)))
    return found


def _flags(mean: Iterable[float], std: Iterable[float]) -> str:
    return f"--mean {_numbers(mean)} --std {_numbers(std)}"


def _numbers(values: Iterable[float]) -> str:
    """Write one number if all are alike."""
    written = [f"{value:.10g}" for value in values]
    return written[0] if len(set(written)) == 1 else ",".join(written)
