"""The command line: `convoy COMMAND`, as a process: signals, streams, exit codes."""

from __future__ import annotations

import io
import os
import signal
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _end_on_sigterm()
    _open_closed_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        from convoy.commands.group import run  # its packages may be missing

        code = run(arguments)
        sys.stdout.flush()  # here, where an error is caught
        return code
    except ModuleNotFoundError as error:
        from convoy.commands.extras import remedy

        print(remedy("".join(arguments[:1]), error.name or ""), file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of the output has ended, such as `head`.
        _discard_output()
        return 141  # 128 + SIGPIPE, as a shell reports it
    except SystemExit as end:
        # rich has an end of its own for this.
        if isinstance(end.__context__, BrokenPipeError):
            return 141
        raise
    except OSError as error:
        if error.filename is not None:  # not of the output, which has no name here
            raise
        _discard_output()
        print(f"convoy: cannot write the output: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _discard_output() -> None:
    # Python would flush it once more at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    # The names of files may hold any bytes, and a terminal may have few characters.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
