"""`convoy completion`: print the script that completes command lines in a shell."""

from __future__ import annotations

from typing import Annotated, Literal

from click.shell_completion import get_completion_class
from pydantic import Field

from convoy.commands.command_line import command
from convoy.options import Option, Options


class CompletionSettings(Options):
    """
    Print a script that completes commands, options and their values in a shell.

    Add the line of your shell to its start-up file, or run it once for the current session.
    """

    examples = (
        ("bash: in ~/.bashrc", 'eval "$(convoy completion bash)"'),
        ("zsh: in ~/.zshrc, after compinit", 'eval "$(convoy completion zsh)"'),
        ("fish: in ~/.config/fish/config.fish", "convoy completion fish | source"),
    )

    shell: Annotated[Literal["bash", "zsh", "fish"], Option(positional=True)] = Field(
        description="Name of the shell: bash (4.4 or later), zsh or fish."
    )


@command(CompletionSettings)
def main(chosen: CompletionSettings) -> int:
    """Print the script."""
    from convoy.commands.group import COMPLETE_VARIABLE, CONVOY

    script = get_completion_class(chosen.shell)
    assert script is not None  # click knows these shells
    print(script(CONVOY, {}, "convoy", COMPLETE_VARIABLE).source())
    return 0
