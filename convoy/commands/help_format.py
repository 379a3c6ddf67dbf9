"""The form of the help: lines break between words, and examples can be pasted."""

from __future__ import annotations

from collections.abc import Iterable

import click

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""click's settings of every command."""


class WordFormatter(click.HelpFormatter):
    """A formatter that breaks lines between words, never within a flag."""

    _HYPHEN = "\N{NON-BREAKING HYPHEN}"
    """Stands for hyphens meanwhile, as click breaks lines at those."""

    def write_option(self, term: str, texts: Iterable[str]) -> None:
        """Write *term*, and below it each text, unless empty; two columns would be too narrow."""
        self.write(f"{'':{self.current_indent}}{term}\n")
        with self.indentation(), self.indentation():
            for text in filter(None, texts):
                self.write_text(text)

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", self._HYPHEN))

    def getvalue(self) -> str:
        return super().getvalue().replace(self._HYPHEN, "-")


def write_examples(examples: Iterable[tuple[str, str]], formatter: click.HelpFormatter) -> None:
    """Write each example: its purpose, and a command in a form that can be pasted."""
    with formatter.section("Examples"):
        texts = [f"  # {purpose}\n  {line}\n" for purpose, line in examples]
        formatter.write("\n".join(texts))
