"""The command line: `convoy COMMAND`. Each command is imported only when it runs."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from keyword import iskeyword
from typing import TextIO

COMMANDS = {
    "export": "train a network, or take public weights, and write the artifact",
    "import": "make an artifact of an ONNX file that was trained elsewhere",
    "describe": "show the layers of a network: sizes, receptive fields, parameters",
    "serve": "serve the models of a repository over gRPC",
    "classify": "ask a server for the classes of image files",
    "models": "list the models of a server",
    "token": "make a bearer token for a server",
    "compare": "measure the models of a repository against each other",
    "bench": "put load on a model of a server",
    "tune": "measure how models run best on this machine, for the server",
}

_EXTRAS = {
    "export": "cpu,export",
    "import": "cpu,import",
    "describe": "cpu,export",
    "compare": "cpu,export",
    "serve": "cpu",
    "token": "cpu",
    "bench": "bench,mlperf",
    "tune": "cpu,bench",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _end_on_sigterm()
    arguments = sys.argv[1:] if arguments is None else arguments
    name = arguments[0] if arguments else ""
    if name not in COMMANDS:
        # Help that was asked for goes to stdout, with 0; help after a mistake to stderr, with 2.
        _print_usage(sys.stdout if name in ("-h", "--help") else sys.stderr, name)
        return 0 if name in ("-h", "--help") else 2
    try:
        command = import_module(f"convoy.commands.{_module(name)}")
        code = int(command.main(arguments[1:]))
        sys.stdout.flush()  # here, where an error is caught
        return code
    except ModuleNotFoundError as error:
        _print_missing(name, error.name or "")
        return 1
    except BrokenPipeError:
        # The reader of the output has ended, such as `head`. Python would flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # 128 + SIGPIPE, as a shell reports it
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _end_on_sigterm() -> None:
    """End at SIGTERM from now on, until the command has a handler of its own."""
    # The kernel ends every process but the first one of a container, which it does not signal
    # without a handler. Exiting at once is right: nothing has begun yet that could be half done.
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))


def _print_missing(name: str, module: str) -> None:
    """Print the remedy for a command that lacks a module."""
    if module.startswith("convoy."):
        # On Windows, git may check out the links in convoy/ as text files.
        remedy = (
            f"convoy {name}: {module} is missing; if this is a checkout by git, run "
            "git config core.symlinks true, then git checkout -- convoy"
        )
    else:
        # A package of an extra: name the extra that installs it.
        extra = _EXTRAS.get(name, "cli")
        remedy = (
            f"convoy {name} needs the package {module}: "
            f"in convoy's folder, pip install '.[{extra}]'"
        )
    print(remedy, file=sys.stderr)


def _module(name: str) -> str:
    """Return the module of a command; a keyword of Python, such as `import`, cannot be its name."""
    return f"{name}_" if iskeyword(name) else name


def _print_usage(stream: TextIO, name: str) -> None:
    if name and not name.startswith("-"):
        print(f"convoy: unknown command {name!r}", file=stream)
    print("usage: convoy COMMAND [--help]\n", file=stream)
    for command, purpose in COMMANDS.items():
        print(f"  {command:10}{purpose}", file=stream)


if __name__ == "__main__":
    sys.exit(main())
