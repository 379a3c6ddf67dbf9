"""`convoy calibrate`: calibrate the probabilities of a model."""

from __future__ import annotations

import sys

from convoy.commands.calibrate.calibrate_settings import CalibrateSettings
from convoy.commands.command_line import UsageError, command


@command(CalibrateSettings)
def main(chosen: CalibrateSettings) -> int:
    """Fit, show and write; return 1 after one line that says why, if it cannot be done."""
    # ONNX and its runtime take a moment to import: --help and a wrong flag do not wait for them.
    from convoy.artifact.errors import ArtifactError, RepositoryError
    from convoy.commands.calibrate.calibrator import calibrate
    from convoy.consoles import plain_console
    from convoy.export.errors import ExportError

    try:
        calibrate(chosen, plain_console(soft_wrap=True))
    except (ArtifactError, RepositoryError, ExportError, UsageError) as error:
        print(f"convoy calibrate: {error}", file=sys.stderr)
        return 1
    return 0
