"""`convoy tune`: find the settings with which models run best on this machine."""

from __future__ import annotations

import signal
import sys

from convoy.commands.command_line import command
from convoy.commands.output_files import explain
from convoy.commands.tune.tune_settings import TuneSettings


@command(TuneSettings)
def main(chosen: TuneSettings) -> int:
    """Measure, choose and write; print one line and return 1 if that fails."""
    # ONNX Runtime takes a second to import: --help and a wrong flag do not wait for it.
    from convoy.artifact.errors import ArtifactError, RepositoryError
    from convoy.commands.tune.tuner import tune
    from convoy.service.errors import ModelLoadError

    # Containers are stopped with SIGTERM; handle it like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return tune(chosen)
    except (ArtifactError, RepositoryError, ModelLoadError) as error:
        print(f"convoy tune: {error}", file=sys.stderr)
    except OSError as error:
        print(f"convoy tune: {explain(error)}", file=sys.stderr)
    return 1
