"""The command line of an `Options` class, by click: reading, checking and help.

click finds the texts that the user gave, as flags or in the environment. pydantic alone makes
values of them, so that a flag and its variable accept the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import click
from click.core import ParameterSource
from pydantic import ValidationError

from convoy.commands.help_format import CONTEXT, WordFormatter, write_examples
from convoy.commands.parameters import Parameter, parameters
from convoy.commands.problems import Problem, describe
from convoy.options import Options

S = TypeVar("S", bound=Options)

_SHOW_ALL = "convoy.show_all"


class UsageError(Exception):
    """An error in the arguments that only the command itself can find; the message is one line."""


def command(options: type[S]) -> Callable[[Callable[[S], int]], OptionsCommand[S]]:
    """Make a command of a function that takes *options* and returns the exit code."""
    return lambda run: OptionsCommand(options, run)


class OptionsCommand(click.Command, Generic[S]):
    """A command whose parameters are the fields of an `Options` class."""

    def __init__(self, options: type[S], run: Callable[[S], int]) -> None:
        self.options = options
        self._run = run
        self._parameters = parameters(options)
        self._has_brief_help = any(p.declared.brief for p in self._parameters)
        super().__init__(
            None,
            params=[
                *self._parameters,
                *([_help_all(len(self._parameters))] if self._has_brief_help else []),
            ],
            help=options.__doc__,
            context_settings=CONTEXT,
        )

    def invoke(self, ctx: click.Context) -> int:
        """Check the values, and run the command."""
        return self._run(self._read(ctx))

    def _read(self, ctx: click.Context) -> S:
        sources = {p.name: ctx.get_parameter_source(p.name) for p in self._parameters}
        given = {n: ctx.params[n] for n, s in sources.items() if s is not ParameterSource.DEFAULT}
        flags = {n for n, s in sources.items() if s is ParameterSource.COMMANDLINE}
        try:
            return self.options.model_validate(given, context={"flags": flags})
        except ValidationError as error:
            names = {p.name: p.shown_name(p.name in flags) for p in self._parameters}
            maps = {p.name for p in self._parameters if p.is_map}
            raise Problem("\n".join(describe(error, names, maps)), ctx) from None

    def full_help(self, ctx: click.Context) -> str:
        """Return the help with every option."""
        ctx.meta[_SHOW_ALL] = True
        return self.get_help(ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help; its lines break between words only."""
        words = WordFormatter(width=formatter.width)
        super().format_help(ctx, words)
        formatter.write(words.getvalue())

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: `format_options` writes a panel for the arguments."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the panels, each of which holds the options of one class."""
        brief = self._has_brief_help and not ctx.meta.get(_SHOW_ALL)
        panels: dict[str, list[Parameter]] = {}
        for parameter in self._parameters:
            if parameter.declared.brief or not brief:
                panels.setdefault(parameter.panel, []).append(parameter)
        assert isinstance(formatter, WordFormatter)
        for panel, shown in panels.items():
            with formatter.section(panel):
                for parameter in shown:
                    formatter.write_option(parameter.term, parameter.texts)
        # Those of click: --help, and --help-all.
        others = [p for p in self.get_params(ctx) if p not in self._parameters]
        with formatter.section("Help"):
            formatter.write_dl([row for p in others if (row := p.get_help_record(ctx))])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(self.options.examples, formatter)


def _help_all(count: int) -> click.Option:
    """Make the option that shows all *count* options of its command."""

    def show(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
        if asked and not ctx.resilient_parsing:
            assert isinstance(ctx.command, OptionsCommand)
            click.echo(ctx.command.full_help(ctx))
            ctx.exit()

    return click.Option(
        ["--help-all"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help=f"Show all {count} options and exit.",
    )
