"""The versions of a model to serve: `latest:N`, `all`, `specific:N:N...`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

_TEXT = re.compile(r"all|latest(:[1-9][0-9]{0,8})?|specific(:[1-9][0-9]{0,17})+")


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """
    The versions of a model to serve: all of them if both attributes are None.

    Attributes:
        latest: Number of the newest versions that can be loaded, for `latest:N`; else None.
        specific: The versions of `specific:N:N...`; else None.
    """

    latest: int | None = None
    specific: tuple[int, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read a policy.

        Raises:
            ValueError: If *text* is not a policy.
        """
        if not _TEXT.fullmatch(text):
            raise ValueError(
                f"invalid version policy {text!r}: "
                "expected all, latest, latest:N or specific:N[:N...]"
            )
        kind, *numbers = text.split(":")
        if kind == "latest":
            return cls(latest=int(numbers[0]) if numbers else 1)
        return cls(specific=tuple(map(int, numbers))) if kind == "specific" else cls()

    def candidates(self, versions: list[int]) -> list[int]:
        """Return the versions to try of those in the repository, the newest first."""
        # The newest first: `latest:N` stops after N, and a version that fails does not count.
        chosen = versions if self.specific is None else set(versions) & set(self.specific)
        return sorted(chosen, reverse=True)

    def enough(self, loaded: int) -> bool:
        """Return whether the policy serves no more than *loaded* versions."""
        return self.latest is not None and loaded >= self.latest

    def __str__(self) -> str:
        if self.latest is not None:
            return f"latest:{self.latest}"
        return "all" if self.specific is None else ":".join(["specific", *map(str, self.specific)])
