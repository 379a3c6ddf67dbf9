"""The command line: `convoy COMMAND`. Each command is imported only when it runs."""

from __future__ import annotations

import os
import signal
import sys
from difflib import get_close_matches
from importlib import import_module
from keyword import iskeyword

import convoy

GROUPS = {
    "Make models": {
        "export": "Train a network, or take public weights, and write a model.",
        "import": "Make a model of an ONNX file that was trained elsewhere.",
    },
    "Serve and query": {
        "serve": "Serve the models of a repository over gRPC and HTTP.",
        "classify": "Classify image files.",
        "models": "List the models of a server.",
        "token": "Make a bearer token for a server.",
    },
    "Understand and measure": {
        "describe": "Show the layers of a network: sizes, parameters, operations.",
        "compare": "Measure the models of a repository against each other.",
        "bench": "Put load on a server, and measure latency and throughput.",
        "tune": "Find the fastest settings of a model on this machine.",
    },
}
"""Every command with its purpose, by heading."""

COMMANDS = {name: purpose for group in GROUPS.values() for name, purpose in group.items()}

_EXAMPLES = """\
convoy COMMAND --help explains a command; convoy --version shows the version.

examples:
  convoy export lenet5 && convoy serve      train LeNet-5 on digits, and serve it
  convoy classify photo.jpg                 show the classes of an image
"""

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
    _open_closed_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    name = arguments[0] if arguments else "--help"
    if name not in COMMANDS:
        return _without_command(name)
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


def _open_closed_streams() -> None:
    """Open /dev/null in place of the standard streams that are closed."""
    # Otherwise a socket gets the number of one of them, and what a library prints goes to it.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for the whole process


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


def _without_command(name: str) -> int:
    """Answer a first argument that is no command; return the exit code."""
    if name in ("-h", "--help"):
        print(_usage(), end="")
        return 0
    if name == "--version":
        print(f"convoy {convoy.__version__}")
        return 0
    close = get_close_matches(name, COMMANDS, n=1)
    advice = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(COMMANDS)}"
    print(f"convoy: unknown command {name!r}: {advice}", file=sys.stderr)
    return 2


def _usage() -> str:
    lines = [
        "convoy serves image classification networks over gRPC and HTTP, and makes the models.",
        "",
        "usage: convoy COMMAND [OPTIONS]",
    ]
    for heading, commands in GROUPS.items():
        lines += ["", f"{heading}:"]
        lines += [f"  {command:10}{purpose}" for command, purpose in commands.items()]
    return "\n".join([*lines, "", _EXAMPLES])


if __name__ == "__main__":
    sys.exit(main())
