"""Which versions of a model are served: `latest:N`, `all`, `specific:N:N...`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

_TEXT = re.compile(r"all|latest(:[1-9][0-9]{0,8})?|specific(:[1-9][0-9]{0,17})+")


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """
    Which versions of a model are served.

    Attributes:
        latest: How many of the newest ones that can be loaded; None unless the policy is that.
        specific: Which ones; None unless the policy is that. With both None all are served.
    """

    latest: int | None = None
    specific: tuple[int, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read a policy.

        Raises:
            ValueError: If *text* is none.
        """
        if not _TEXT.fullmatch(text):
            raise ValueError(f"{text!r} is none of all, latest, latest:N, specific:N:N...")
        kind, *numbers = text.split(":")
        if kind == "latest":
            return cls(latest=int(numbers[0]) if numbers else 1)
        return cls(specific=tuple(map(int, numbers))) if kind == "specific" else cls()

    def candidates(self, versions: list[int]) -> list[int]:
        """Versions to try, of those in the repository: newest first."""
        wanted = versions if self.specific is None else set(versions) & set(self.specific)
        return sorted(wanted, reverse=True)

    def enough(self, loaded: int) -> bool:
        """Whether no more than *loaded* versions are to be served."""
        return self.latest is not None and loaded >= self.latest

    def __str__(self) -> str:
        if self.latest is not None:
            return f"latest:{self.latest}"
        return "all" if self.specific is None else ":".join(["specific", *map(str, self.specific)])
