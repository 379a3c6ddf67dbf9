"""`job.json`: the input, model, settings, counts and times of a job, beside its labels."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

from convoy.bulk.answers import Model
from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.bulk.bulk_settings import BulkSettings
from convoy.commands.bulk.label_folder import JOB_FOLDER, LabelFolder
from convoy.commands.bulk.label_parts import Failures
from convoy.commands.bulk.shards import as_text

JOB_FILE = f"{JOB_FOLDER}/job.json"

State = Literal["running", "stopped", "too_many_failures", "failed", "finished"]


class JobModel(BaseModel):
    """The model of a job."""

    name: str
    version: int
    sha256: str


class JobInput(BaseModel):
    """
    The input of a job.

    Attributes:
        shards: The number of shards; None until all are listed.
        images: The number of images; None until all are listed, and with tar files.
    """

    sources: list[str]
    column: str
    id: str
    shards: int | None = None
    images: int | None = None


class JobRun(BaseModel):
    """
    One run of the command for a job.

    Attributes:
        ended_at: None while it runs, and if it was killed.
        images: The number of images that it classified, without those of parts that it kept. If
            the run was killed, the images of its last seconds are missing.
    """

    started_at: datetime
    ended_at: datetime | None = None
    engine: str
    workers: int
    device: str
    servers: list[str]
    images: int = 0


class JobRecord(BaseModel):
    """
    The content of `job.json`.

    Attributes:
        state: `finished` if every image has a row.
        key: Hash of everything that the rows depend on.
        images: Rows of the parts that are complete.
        failures: Rows without an answer, by reason.
        runs: One for each time that the command ran.
    """

    schema_version: Literal[1] = 1
    state: State = "running"
    error: str = ""
    key: str
    model: JobModel
    input: JobInput
    top_k: int
    format: str
    images: int = 0
    failures: dict[str, int] = Field(default_factory=dict)
    runs: list[JobRun] = Field(default_factory=list)

    def set_counts(self, rows: Failures, classified: int) -> None:
        """Set the counts of all rows, and the number of images that this run classified."""
        self.images = rows.total()
        self.failures = {reason: n for reason, n in rows.most_common() if reason is not None}
        self.runs[-1].images = classified

    def end(self, state: State, error: str) -> None:
        """Set the outcome of this run, and now as its end."""
        self.state, self.error = state, as_text(error)
        self.runs[-1].ended_at = _now()

    @property
    def ended_without_input(self) -> bool:
        """Return whether it ended before all of its input was listed, such as for a wrong name."""
        return self.input.shards is None and self.state in ("failed", "stopped")

    @property
    def failed(self) -> int:
        """The number of rows without an answer."""
        return sum(self.failures.values())

    def write(self, folder: LabelFolder) -> None:
        """Write it beside the labels."""
        folder.write(JOB_FILE, self.model_dump_json(indent=2).encode() + b"\n")


def begin(folder: LabelFolder, settings: BulkSettings, model: Model, workers: int) -> JobRecord:
    """
    Begin a job, or continue it.

    Raises:
        BulkError: If the folder has this job and is not to be continued, or has other labels.
    """
    fresh = _fresh(settings, model)
    record = _read(folder)
    if record is None or record.ended_without_input:
        if folder.has_parts():
            raise BulkError(f"{settings.to} has parts of another job; choose another folder")
        record = fresh
    elif record.key != fresh.key:
        raise BulkError(_refusal(settings, record, fresh))
    elif not settings.resume:
        raise BulkError(
            f"{settings.to} has this job already ({record.state}): continue it with --resume, or "
            "choose another folder"
        )
    record.state, record.error = "running", ""
    record.runs.append(
        JobRun(
            started_at=_now(),
            engine=settings.engine,
            workers=workers,
            device=settings.device,
            servers=settings.server,
        )
    )
    record.set_counts(Counter(), 0)
    return record


def _fresh(settings: BulkSettings, model: Model) -> JobRecord:
    made = JobRecord(
        key="",
        model=JobModel(name=model.name, version=model.version, sha256=model.sha256),
        # JSON is UTF-8, and the name of a file need not be.
        input=JobInput(
            sources=list(map(as_text, settings.sources)), column=settings.column, id=settings.id
        ),
        top_k=settings.top_k,
        format=settings.format,
    )
    made.key = hashlib.sha256("\n".join(_facts(made).values()).encode()).hexdigest()
    return made


def _facts(record: JobRecord) -> dict[str, str]:
    """Return everything that the rows depend on, by the name of the option."""
    return {
        # Shells complete the name of a folder with a slash.
        "SOURCE": repr([source.rstrip("/") for source in record.input.sources]),
        "--column": record.input.column,
        "--id": record.input.id,
        "MODEL": record.model.model_dump_json(),
        "--top-k": str(record.top_k),
        "--format": record.format,
    }


def _refusal(settings: BulkSettings, one: JobRecord, other: JobRecord) -> str:
    """Return why the labels of the job *one* cannot be continued by *other*, with the remedy."""
    old, new = _facts(one), _facts(other)
    changed = [name for name, text in old.items() if text != new[name]]
    was, now = one.model, other.model
    # A version that appeared since the job began: the command is the same.
    if changed == ["MODEL"] and was.name == now.name and was.version != now.version:
        is_newest = ":" not in settings.model
        return (
            f"{settings.to} has labels made by {was.name} version {was.version}; "
            f"{'the newest' if is_newest else 'this one'} is {now.version}: give "
            f"{was.name}:{was.version}, or choose another folder"
        )
    if "MODEL" in changed and was.name == now.name:
        changed[changed.index("MODEL")] = (
            f"content of {was.name}:{was.version}"
            if was.version == now.version
            else f"version of {was.name} ({was.version} there, {now.version} here)"
        )
    return (
        f"{settings.to} has the labels of another job (with another {' and '.join(changed)}); "
        "choose another folder"
    )


def _read(folder: LabelFolder) -> JobRecord | None:
    content = folder.read(JOB_FILE)
    if content is None:
        return None
    try:
        return JobRecord.model_validate_json(content)
    except ValueError as error:
        raise BulkError(
            f"{folder.location}/{JOB_FILE} is damaged, or of another version of convoy; choose "
            "another folder"
        ) from error


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
