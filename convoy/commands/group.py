"""All commands: their names, purposes and groups, and `convoy` itself, by click."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from keyword import iskeyword

import click
from click.shell_completion import CompletionItem, shell_complete

import convoy
from convoy.artifact.store_logs import QuietStores
from convoy.commands.help_format import CONTEXT, write_examples
from convoy.commands.problems import Problem, explain
from convoy.service.machine.environment import read_variable
from convoy.suggestion import suggest

GROUPS = {
    "Make models": {
        "export": "Train a network or take public weights, and write a model.",
        "import": "Make a model from an ONNX file that was trained elsewhere.",
        "quantize": "Make an int8 version of a model, and compare it with float32.",
    },
    "Serve and query": {
        "serve": "Serve the models of a repository over gRPC and HTTP.",
        "classify": "Classify image files.",
        "bulk": "Classify any number of images, on this machine or a cluster.",
        "models": "List the models of a server.",
        "shadow": "Compare a version of a model with the one that serves, on real requests.",
        "promote": "Let the compared version of a model serve.",
        "predictions": "Collect the images of a prediction log for labelling.",
        "token": "Make a bearer token for a server.",
    },
    "Understand and measure": {
        "describe": "Show the layers of a network: sizes, parameters, operations.",
        "evaluate": "Measure how well models classify images of known classes.",
        "calibrate": "Calibrate the probabilities of a model, in its next version.",
        "baseline": "Measure what images of a model look like, to notice drift.",
        "compare": "Measure the models of a repository against each other.",
        "bench": "Apply load to a server, and measure latency and throughput.",
        "tune": "Find the fastest settings of a model on this machine.",
    },
    "Set up": {
        "completion": "Print a script that completes commands and options in a shell.",
    },
}
"""Every command with its purpose, by heading."""

COMMANDS = {name: purpose for group in GROUPS.values() for name, purpose in group.items()}

_EXAMPLES = (
    ("Train LeNet-5 on handwritten digits, and serve it", "convoy export lenet5 && convoy serve"),
    ("Show the classes of an image", "convoy classify photo.jpg"),
)

COMPLETE_VARIABLE = "_CONVOY_COMPLETE"
"""The variable by which the script of a shell asks for completions."""


class _Commands(click.Group):
    """The commands, which are imported one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        # A keyword of Python, such as `import`, cannot be the name of a module.
        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command: click.Command = import_module(f"convoy.commands.{module}").main
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise Problem(f"unknown command {args[0]!r}; {suggest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # click would import every command for its purpose.
        found = [CompletionItem(n, help=COMMANDS[n]) for n in COMMANDS if n.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, commands in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:11}", purpose) for name, purpose in commands.items()])
        click.Command.format_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(_EXAMPLES, formatter)


def _show_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        click.echo(f"convoy {convoy.__version__}")
        ctx.exit()


CONVOY = _Commands(
    help="Serve image classification networks over gRPC and HTTP, and make the models.\n\n"
    "Run `convoy COMMAND --help` to learn about a command.",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version and exit.",
        )
    ],
    context_settings=CONTEXT,
    subcommand_metavar="COMMAND [OPTIONS]",
    options_metavar="",
)


_quiet_stores = QuietStores()


def run(arguments: list[str]) -> int:
    """Run one command, or complete one for a shell; return the exit code."""
    if instruction := read_variable(COMPLETE_VARIABLE):
        return shell_complete(CONVOY, {}, "convoy", COMPLETE_VARIABLE, instruction)
    # The handler of a process that configures no logging, as all commands but `serve` do not.
    assert logging.lastResort is not None
    logging.lastResort.addFilter(_quiet_stores)
    try:
        with CONVOY.make_context("convoy", arguments or ["--help"]) as ctx:
            return int(CONVOY.invoke(ctx))
    except click.exceptions.Exit as end:  # --help and --version
        return end.exit_code
    except click.UsageError as error:
        # click raises some errors without their context.
        command = error.ctx.command_path if error.ctx else f"convoy {arguments[0]}"
        for line in explain(error, command):
            print(f"{command}: {line}", file=sys.stderr)
        return 2
