"""A job from its settings to its labels: list the input, run its shards, keep the record."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from convoy.artifact.stores import open_repository
from convoy.bulk.answers import Model
from convoy.bulk.classifier import Classifier
from convoy.commands.bulk import job_record
from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.bulk.bulk_progress import BulkProgress, display, print_table
from convoy.commands.bulk.bulk_runner import Runner
from convoy.commands.bulk.bulk_settings import BulkSettings
from convoy.commands.bulk.duplicates import IdChecker
from convoy.commands.bulk.engines.choice import open_engine, runs_on_gpu
from convoy.commands.bulk.job_record import JobRecord
from convoy.commands.bulk.label_folder import JOB_FOLDER, LabelFolder
from convoy.commands.bulk.labelling import Answering, Labelling, Part
from convoy.commands.bulk.record_keeper import RecordKeeper
from convoy.commands.bulk.shards import Shard, from_json, to_json
from convoy.commands.bulk.sources import shards
from convoy.commands.connection import CredentialSettings
from convoy.commands.evaluate.models import parse_model, read_model
from convoy.consoles import plain_console
from convoy.service.machine.resources import usable_cpus
from convoy.stores import is_url

INPUT_FILE = f"{JOB_FOLDER}/input.jsonl.gz"
"""The shards of a job, one per line, as they were when the job began."""

EXIT_FAILURES = 3


class _TooManyFailuresError(Exception):
    """The limit of failures is exceeded."""


def run_job(settings: BulkSettings) -> int:
    """
    Label the input.

    Returns:
        The exit code: 0 if every image has a row, 3 if too many failed.

    Raises:
        ArtifactError, ModelLoadError: If the model cannot be used.
        RepositoryError: If a store fails.
        BulkError: If the job cannot continue.
        OSError: If a disk fails.
    """
    workers = _workers(settings)
    classifier, model = _classifier(settings, workers)
    folder = LabelFolder(settings.to)
    record = job_record.begin(folder, settings, model, workers)
    folder.remove_unfinished()
    record.write(folder)
    job = _Job(settings, folder, record, RecordKeeper(record, folder))
    try:
        with display(plain_console(stderr=True)) as show:
            job.list_input(show)
            progress = job.run(classifier, workers, show)
    except KeyboardInterrupt:
        job.keeper.end("stopped")
        print("convoy bulk: stopped; continue with --resume", file=sys.stderr)
        raise
    except Exception as error:
        job.keeper.end("failed", str(error))
        raise
    print_table(record, progress, settings.to)
    if record.state != "too_many_failures":
        return 0
    print(f"convoy bulk: {record.error}", file=sys.stderr)
    return EXIT_FAILURES


def _workers(settings: BulkSettings) -> int:
    if settings.workers:
        return settings.workers
    # A GPU has one process, and a server keeps one busy only.
    return 1 if settings.server or runs_on_gpu(settings) else usable_cpus()


def _classifier(settings: BulkSettings, workers: int) -> tuple[Answering, Model]:
    if settings.server:
        classifier = _server_classifier(settings)
        return classifier, classifier.model
    root = settings.model_repository
    repository = open_repository(root if is_url(root) else str(Path(root).absolute()))
    manifest = read_model(repository, settings.model).manifest
    # The workers of other engines are granted their threads by these.
    threads = max(1, usable_cpus() // workers) if settings.engine == "local" else None
    own = Classifier(
        repository.location(manifest.name, manifest.version),
        settings.top_k,
        settings.device,
        threads,
        decode_processes=usable_cpus() - 1 if runs_on_gpu(settings) else 0,
    )
    return own, Model(manifest.name, manifest.version, manifest.model_sha256)


def _server_classifier(settings: BulkSettings) -> Answering:
    from convoy.commands.bulk.server_classifier import ServerClassifier  # with gRPC

    name, version = parse_model(settings.model)
    return ServerClassifier(
        servers=tuple(settings.server),
        name=name,
        version=version,
        top_k=settings.top_k,
        timeout_s=settings.timeout_s,
        connection=CredentialSettings.model_validate(
            {name: getattr(settings, name) for name in CredentialSettings.model_fields}
        ),
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """A job that has begun: its settings, the folder of its labels, and its record."""

    settings: BulkSettings
    folder: LabelFolder
    record: JobRecord
    keeper: RecordKeeper

    def list_input(self, show: Callable[[str, float], None]) -> None:
        """List the input, unless an earlier run has."""
        settings, known = self.settings, self.record.input
        if known.shards is not None:
            return
        checker = IdChecker(settings.id)

        def listed(count: int) -> None:
            if count % 1000 == 0:
                show(f"{count} files listed", 0.0)

        count, images, is_counted = 0, 0, True
        with (
            self.folder.writing(INPUT_FILE) as file,
            gzip.open(file, "wt", compresslevel=1, encoding="utf-8") as lines,
        ):
            sources = dict.fromkeys(settings.sources)
            for shard in shards(sources, settings.column, settings.id, listed):
                lines.write(to_json(shard) + "\n")
                count += 1
                is_counted = is_counted and shard.images is not None
                images += shard.images or 0
                checker.add(shard)
            checker.check()
        known.shards, known.images = count, images if is_counted else None
        self.record.write(self.folder)

    def run(
        self, classifier: Answering, workers: int, show: Callable[[str, float], None]
    ) -> BulkProgress:
        """Run the shards until all are done, or too many images have failed."""
        record, total = self.record, self.record.input.images
        engine = open_engine(self.settings, workers)
        progress = BulkProgress(record.input.shards or 0, lambda: engine.workers, show)

        def done(part: Part | None) -> None:
            progress.add(part)
            record.set_counts(progress.rows, progress.classified)
            if part:
                self.keeper.keep()
                if total is not None and self._exceeds_limit(total):
                    raise _TooManyFailuresError

        try:
            labelling = Labelling(classifier, self._shared_name(), self.settings.format)
            Runner(engine, labelling, done).run(self._listed())
            if not record.images:
                raise BulkError(self._no_images())
            is_over = self._exceeds_limit(record.images)
        except _TooManyFailuresError:
            is_over = True
        finally:
            engine.close()
        with self.keeper.reporting(
            "temporary files, which no reader takes for labels, may be left there"
        ):
            self.folder.remove_unfinished()  # of workers that were killed
        if is_over:
            self.keeper.end("too_many_failures", self._too_many())
        else:
            self.keeper.end("finished")
        return progress

    def _listed(self) -> Iterator[tuple[int, Shard]]:
        with (
            self.folder.opened(INPUT_FILE) as file,
            gzip.open(file, "rt", encoding="utf-8") as lines,
        ):
            for number, line in enumerate(lines):
                yield number, from_json(line)

    def _exceeds_limit(self, images: int) -> bool:
        """Return whether more of *images* have failed than the settings allow."""
        return self.record.failed > self.settings.most_failures(images)

    def _too_many(self) -> str:
        """Return the message on a limit that is exceeded, with the remedy."""
        done = self.record.images
        return (
            f"{self.record.failed} of {done} image{'s' * (done != 1)} failed, more than "
            f"--max-failures {self.settings.max_failures}; the column error has the reason of "
            "each. Continue with a higher limit and --resume"
        )

    def _no_images(self) -> str:
        """Return the message on sources without images, which are Parquet and tar files only."""
        sources = ", ".join(self.settings.sources)
        if self.record.input.images is not None:  # there is no tar file
            return f"no images in {sources}: no Parquet file there has a row"
        return (
            f"no images in {sources}; in a tar file, images are recognised by the suffixes of "
            "their names, such as .jpg"
        )

    def _shared_name(self) -> str:
        """Return the folder of labels as workers know it: those of a cluster have other folders."""
        to = self.settings.to
        return to if self.settings.engine == "local" or is_url(to) else str(Path(to).absolute())
