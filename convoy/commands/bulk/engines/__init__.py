"""Engines that run shards: the processes of this machine, Dask, Ray."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Engine(Protocol):
    """
    Workers that run functions.

    Attributes:
        crashes: The errors of a function whose worker ended.
    """

    crashes: tuple[type[Exception], ...]

    @property
    def workers(self) -> int:
        """The number of workers now."""

    @property
    def slots(self) -> int:
        """The number of functions to submit at once."""

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Run a function in a worker."""

    def close(self) -> None:
        """End at once, whatever runs."""
