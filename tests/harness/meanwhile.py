"""Something that happens while a command works."""

from __future__ import annotations

import io
from collections.abc import Callable


class Meanwhile(io.StringIO):
    """The output of a command; once it holds *text*, *act* happens, a single time."""

    def __init__(self, text: str, act: Callable[[], object]) -> None:
        super().__init__()
        self._text, self._acts = text, [act]

    def write(self, text: str) -> int:
        if self._text in text and self._acts:
            self._acts.pop()()
        return super().write(text)
