"""The units of --mean and --std: values that cannot be meant for pixels of 0 to 1 are refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from convoy.export.errors import GraphError
from convoy.export.importing.import_settings import ImportSettings

_WHITE = 255.0
"""The largest value of a pixel in an image."""

_LARGEST_RANGE = 260.0
"""Limit on 1 / std: pixels of 0 to 255 or 256 are as large as any network takes them."""


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
    Refuse means and deviations that cannot be meant for pixels of 0 to 1.

    Raises:
        GraphError: If one cannot; the message prints the flags that say the same for 0 to 1.
    """
    mean, std = settings.mean, settings.std
    # Mean colours subtracted from 0 to 255, as Caffe, mmpretrain and EfficientNet-lite have them.
    if max(map(abs, mean)) > 1 or max(std) > 1:
        raise GraphError(f"{_flags(mean, std)} {_are_whole(settings)}")
    # A mean colour is not negative; the sign of one that is added was kept.
    if min(mean) < 0:
        raise GraphError(
            f"{_flags(mean, std)}: no pixel is negative, and the mean is subtracted: "
            f"give {_flags(map(abs, mean), std)}"
        )
    # Deviations that were divided by 255 twice, or that no network has.
    if min(std) < 1 / _LARGEST_RANGE:
        raise GraphError(
            f"{_flags(mean, std)} makes pixels of up to {1 / min(std):,.0f}: pixels are divided by "
            f"255 before, so give {_flags(mean, _undivided(std))}"
        )


def _undivided(std: tuple[float, ...]) -> tuple[float, ...]:
    """Return *std* times 255, or without any meaning a deviation that makes pixels of 0 to 255."""
    whole = tuple(value * _WHITE for value in std)
    return whole if min(whole) >= 1 / _LARGEST_RANGE else (1 / _WHITE,)


def _are_whole(settings: Normalizing) -> str:
    """Say which of the two are meant for pixels of 0 to 255, and print the flags for 0 to 1."""
    mean, std = tuple(map(abs, settings.mean)), settings.std
    of_mean = max(mean) > 1
    shares = tuple(value / _WHITE for value in mean) if of_mean else mean
    meant = "are meant for pixels of 0 to 255, but pixels here are of 0 to 1: give "
    # Both, or a deviation of 1, the default, beside means of 0 to 255: x - mean.
    if min(std) >= 1:
        return meant + _flags(shares, (value / _WHITE for value in std))
    # Means of 0 to 255 beside small numbers: either these are for 0 to 1, or factors (Caffe's
    # `scale: 0.017`), which multiply.
    factors = _flags(shares, (1 / (value * _WHITE) for value in std))
    return (
        f"{meant}{_flags(shares, std)}; if --std is a factor that multiplies pixels of 0 to 255, "
        f"give {factors}"
    )


def _flags(mean: Iterable[float], std: Iterable[float]) -> str:
    return f"--mean {_numbers(mean)} --std {_numbers(std)}"


def _numbers(values: Iterable[float]) -> str:
    return ",".join(f"{value:.10g}" for value in values)
