"""`convoy tune`: how models run best on this machine."""

from __future__ import annotations

import signal
import sys

from bench.tuning.settings import TuneSettings
from convoy.commands import settings


def main(arguments: list[str]) -> int:
    """Measure, choose, write; 1 with one line if that cannot be done."""
    chosen = settings.read(TuneSettings, arguments)

    # `--help` and a typing mistake need not wait for ONNX Runtime.
    from artifact.errors import ArtifactError, RepositoryError
    from bench.tuning.run import tune
    from service.errors import ModelLoadError

    # Whoever stops a container sends SIGTERM: end as by Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return tune(chosen)
    except (ArtifactError, RepositoryError, ModelLoadError) as error:
        print(f"convoy tune: {error}", file=sys.stderr)
    except OSError as error:
        print(f"convoy tune: {error.filename}: {error.strerror}", file=sys.stderr)
    return 1
