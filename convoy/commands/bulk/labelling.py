"""The function that engines run: read a shard, classify it, and write its part. Idempotent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Protocol

from convoy.bulk.answers import Answer, Model
from convoy.bulk.images import WORKER_CRASHED, Image, Unread
from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.bulk.label_folder import LabelFolder, part_name
from convoy.commands.bulk.label_parts import Failures, Format, count_rows, write_rows
from convoy.commands.bulk.shards import Shard

WRITTEN_ROWS = 500
"""Rows that are written at once."""


class Part(NamedTuple):
    """
    The counts of a part that is complete.

    Attributes:
        rows: Number of rows by the reason why they have no answer; of answered ones by None.
        is_kept: Whether an earlier run wrote it.
    """

    rows: Failures
    is_kept: bool


class Answering(Protocol):
    """An object that classifies images, by itself or by servers. It can be pickled."""

    @property
    def model(self) -> Model:
        """The model that answers."""

    def answers(self, images: Iterable[Image]) -> Iterator[Answer]:
        """Classify a stream of images, in order."""


@dataclass(frozen=True, slots=True)
class Labelling:
    """
    The work on any shard of a job.

    Attributes:
        classifier: Answers the images.
        to: The folder of labels.
        form: The format of its parts.
    """

    classifier: Answering
    to: str
    form: Format

    def label(self, number: int, shard: Shard, crashing: frozenset[int] = frozenset()) -> Part:
        """
        Write the part of a shard, unless it exists; count its rows.

        Args:
            crashing: Images that are not to be opened, as they ended the worker before.

        Raises:
            BulkError: If the part that exists is damaged.
        """
        folder, name = LabelFolder(self.to), part_name(number, self.form)
        if content := folder.read(name):
            return Part(self._kept(content, shard, f"{folder.location}/{name}"), is_kept=True)
        with folder.writing(name) as file:
            rows = self._rows(shard, crashing)
            found = write_rows(rows, self.classifier.model, self.form, file)
        return Part(found, is_kept=False)

    def _kept(self, content: bytes, shard: Shard, place: str) -> Failures:
        try:
            rows = count_rows(content, self.form)
            if shard.images not in (None, rows.total()):
                raise ValueError(f"it has {rows.total()} rows for {shard.images} images")
        except ValueError as error:
            raise BulkError(
                f"{place} is damaged: {error}; remove it, and continue with --resume"
            ) from error
        return rows

    def probe(self, shard: Shard, start: int, stop: int) -> None:
        """Classify some images of a shard, only to see whether the worker outlives it."""
        images = (image for _, image in islice(shard.rows(), start, stop))
        for _ in self.classifier.answers(images):
            pass

    def _rows(
        self, shard: Shard, crashing: frozenset[int]
    ) -> Iterator[tuple[Sequence[Any], Sequence[Answer]]]:
        ids: deque[Any] = deque()

        def images() -> Iterator[Image]:
            for index, (key, image) in enumerate(shard.rows()):
                ids.append(key)
                yield Unread(WORKER_CRASHED) if index in crashing else image

        answers = self.classifier.answers(images())
        while found := list(islice(answers, WRITTEN_ROWS)):
            yield [ids.popleft() for _ in found], found
