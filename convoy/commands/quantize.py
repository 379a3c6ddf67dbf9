"""`convoy quantize`: make an int8 version of a model, and compare it with float32."""

from __future__ import annotations

import signal
import sys

from convoy.commands.command_line import UsageError, command
from convoy.export.quantization.quantize_settings import QuantizeSettings


@command(QuantizeSettings)
def main(chosen: QuantizeSettings) -> int:
    """Convert one model; return 1 after one line that says why, if it cannot be done."""
    # ONNX and its runtime take a moment to import; `--help` does not wait for them.
    from convoy.artifact.errors import ArtifactError, RepositoryError
    from convoy.artifact.stores import open_repository
    from convoy.commands.evaluate.models import read_model
    from convoy.consoles import plain_console
    from convoy.export.errors import ExportError
    from convoy.export.quantization.quantizer import quantize_model

    # Containers are stopped with SIGTERM; handle it like Ctrl-C, so that nothing is half-written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = plain_console(soft_wrap=True)
    try:
        repository = open_repository(chosen.model_repository, report=console.print)
        source = read_model(repository, chosen.model)
        quantize_model(repository, source, chosen, console)
    except (ArtifactError, ExportError, RepositoryError, UsageError) as error:
        print(f"convoy quantize: {error}", file=sys.stderr)
        return 1
    return 0
