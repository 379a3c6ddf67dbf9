"""`convoy tune`: how models run best on this machine."""

from __future__ import annotations

import signal
import sys

from convoy.commands import command_line
from convoy.commands.tune.tune_settings import TuneSettings


def main(arguments: list[str]) -> int:
    """Measure, choose, write; 1 with one line if that cannot be done."""
    chosen = command_line.read(TuneSettings, arguments)

    # `--help` and a typing mistake need not wait for ONNX Runtime.
    from convoy.artifact.errors import ArtifactError, RepositoryError
    from convoy.commands.tune.tuner import tune
    from convoy.service.errors import ModelLoadError

    # Whoever stops a container sends SIGTERM: end as by Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return tune(chosen)
    except (ArtifactError, RepositoryError, ModelLoadError) as error:
        print(f"convoy tune: {error}", file=sys.stderr)
    except OSError as error:
        print(f"convoy tune: {error.filename}: {error.strerror}", file=sys.stderr)
    return 1
