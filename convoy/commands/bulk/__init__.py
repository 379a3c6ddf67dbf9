"""`convoy bulk`: label any number of images."""

from __future__ import annotations

import sys

from convoy.commands.bulk.bulk_settings import BulkSettings
from convoy.commands.command_line import command


@command(BulkSettings)
def main(chosen: BulkSettings) -> int:
    """Label; return 3 if too many images failed, or 1 after one line if it cannot be done."""
    # ONNX Runtime takes a moment to import: --help and a wrong flag do not wait for it.
    from convoy.artifact.errors import ArtifactError, RepositoryError
    from convoy.commands.bulk.bulk_error import BulkError
    from convoy.commands.bulk.bulk_job import run_job
    from convoy.commands.command_line import UsageError
    from convoy.commands.output_files import explain
    from convoy.service.errors import ServiceError

    try:
        return run_job(chosen)
    except (ArtifactError, RepositoryError, BulkError, ServiceError, UsageError) as error:
        print(f"convoy bulk: {error}", file=sys.stderr)
    except OSError as error:
        print(f"convoy bulk: {explain(error)}", file=sys.stderr)
    return 1
