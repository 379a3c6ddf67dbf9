"""`convoy compare` from its settings to its table and files."""

from __future__ import annotations

from convoy.artifact.repository import ModelRepository
from convoy.commands.compare import comparison_data, comparison_table, measurement_rounds
from convoy.commands.compare.compare_settings import CompareSettings
from convoy.commands.compare.comparison_data import Comparison, ComparisonError
from convoy.commands.measurement.artifacts import read_newest
from convoy.commands.measurement.progress import progress_bar
from convoy.commands.output_files import prepare
from convoy.consoles import plain_console


def compare(settings: CompareSettings) -> int:
    """
    Measure, or read earlier results, and print, write and draw them.

    Returns:
        The exit code: 130 if the measurement was interrupted.

    Raises:
        RepositoryError: If there is no such model, or none at all.
        ArtifactError: If one is damaged.
        ComparisonError: If there is nothing to show.
        OSError: If a file cannot be read or written.
        KeyboardInterrupt: If the measurement was interrupted before the first result.
    """
    _make_folders(settings)
    # --from shows earlier results; nothing is measured, and no repository is read.
    if settings.from_file:
        comparison, exit_code = comparison_data.read(settings.from_file), 0
    else:
        comparison = _measure(settings)
        exit_code = 130 if comparison.interrupted else 0
    if comparison.interrupted and not comparison.networks:
        raise KeyboardInterrupt  # there is nothing to keep
    if not comparison.networks:
        raise ComparisonError("; ".join(("nothing was measured", *comparison.notes)))
    comparison_table.print_table(comparison, plain_console())
    if settings.json_file:
        comparison_data.write(comparison, settings.json_file)
    if settings.figures:
        from convoy.commands.compare.figures import draw_all  # matplotlib takes a second to import

        for path in draw_all(comparison, settings.figures, settings.format):
            print(path)
    return exit_code


def _make_folders(settings: CompareSettings) -> None:
    """Make the folders before measuring, as results must not be lost for want of a folder."""
    prepare(settings.json_file)
    if settings.figures:
        import matplotlib  # noqa: F401 - fails before measuring if it is not installed

        settings.figures.mkdir(parents=True, exist_ok=True)


def _measure(settings: CompareSettings) -> Comparison:
    artifacts = read_newest(ModelRepository(settings.model_repository), settings.models)
    with progress_bar(plain_console(stderr=True)) as show:
        return measurement_rounds.measure(artifacts, settings, show)
