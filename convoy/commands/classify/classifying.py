"""The requests of `convoy classify`, and the forms of their answers."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Column

from convoy.client import AsyncClient
from convoy.commands.classify.classify_settings import ClassifySettings
from convoy.commands.command_line import UsageError
from convoy.commands.image_files import find_images, read_image
from convoy.commands.listing import print_rows
from convoy.results import Classification, ConvoyError
from convoy.suggestion import suggest

MAX_NAMED = 3
"""Maximum number of files that the line of an error names."""


@dataclass(frozen=True, slots=True)
class Row:
    """One file with its answer, or with the text of an error."""

    path: Path
    answer: Classification | None
    error: str = ""


def classify(settings: ClassifySettings) -> list[Row]:
    """
    Classify; return a row for each file, in their order.

    Raises:
        ConvoyError: If the server cannot be asked for its models.
        UsageError: If there is no image, or several models to choose from.
        OSError: If a folder cannot be read.
    """
    return asyncio.run(_classify_all(settings))


def show(rows: list[Row], settings: ClassifySettings) -> None:
    """Print the answers in the chosen format."""
    if settings.print_json:
        print(json.dumps([_as_dict(row) for row in rows], indent=2))
    elif settings.print_csv:
        _print_csv(rows)
    else:
        _print_table(rows)


async def _classify_all(settings: ClassifySettings) -> list[Row]:
    """Keep `concurrency` images in flight; return a row for each file, in their order."""
    paths = list(find_images(settings.paths))
    async with AsyncClient(
        settings.address,
        timeout_s=settings.timeout_s,
        credentials=settings.credentials(),
        token=settings.token.get_secret_value(),
    ) as client:
        model = settings.model or await _only_model(client)
        places = asyncio.Semaphore(settings.concurrency)
        is_answered, unreachable = False, ""

        async def one(path: Path) -> Row:
            nonlocal is_answered, unreachable
            async with places:
                if unreachable:
                    return Row(path, None, unreachable)
                try:
                    image = await asyncio.to_thread(read_image, path, settings.paths)
                    answer = await client.classify(
                        image, model=model, version=settings.model_version, top_k=settings.top_k
                    )
                    is_answered = True
                    return Row(path, answer)
                except OSError as error:  # one unreadable file must not end the others
                    return Row(path, None, error.strerror or str(error))
                except ConvoyError as error:  # nor must one image that the server refuses
                    text = await _explained(error, client, model)
                    # grpcio itself refuses a message that is too large, without a reason.
                    is_of_server = not error.reason and error.code != "RESOURCE_EXHAUSTED"
                    # Every other file would get the same answer.
                    if text != str(error) or (is_of_server and not is_answered):
                        unreachable = text
                    return Row(path, None, text)

        tasks = [asyncio.create_task(one(path)) for path in paths]
        # The bar goes to stderr, as stdout may be a file of JSON or CSV.
        shown = Console(emoji=False, stderr=True)
        return [
            await task
            for task in track(tasks, "classifying", console=shown, disable=not shown.is_terminal)
        ]


async def _only_model(client: AsyncClient) -> str:
    # Several versions of one model are still one choice.
    names = {model.name for model in await client.models()}
    if len(names) != 1:
        known = ", ".join(sorted(names)) or "none is loaded"
        raise UsageError(f"choose one with --model: {known}")
    return names.pop()


async def _explained(error: ConvoyError, client: AsyncClient, model: str) -> str:
    """Return the text of *error*, with the closest model if there is none named *model*."""
    if error.reason != "MODEL_NOT_FOUND":
        return str(error)
    try:
        names = sorted({known.name for known in await client.models()})
    except ConvoyError:  # the first error is the one to report
        return str(error)
    # The model may be known without the version.
    return str(error) if model in names or not names else f"{error}; {suggest(model, names)}"


def _as_dict(row: Row) -> dict[str, object]:
    if row.answer is None:
        return {"file": str(row.path), "error": row.error}
    return {"file": str(row.path), **dataclasses.asdict(row.answer)}


def _print_csv(rows: list[Row]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(["file", "rank", "class_index", "label", "probability", "error"])
    for row in rows:
        if row.answer is None:  # a failed file has one line, without a rank
            writer.writerow([row.path, "", "", "", "", row.error])
            continue
        for rank, found in enumerate(row.answer.predictions, 1):
            writer.writerow(
                [row.path, rank, found.class_index, found.label, f"{found.probability:.6f}", ""]
            )


def _print_table(rows: list[Row]) -> None:
    """Print the answers as a table, and each error as a line to stderr, once for all its files."""
    answered = [(row.path, row.answer) for row in rows if row.answer]
    if len(answered) == 1:
        _print_classes(*answered[0])
    elif answered:
        _print_files(answered)
    failed: dict[str, list[Path]] = {}
    for row in rows:
        if row.answer is None:
            failed.setdefault(row.error, []).append(row.path)
    for error, paths in failed.items():
        print(f"convoy classify: {_named(paths, len(rows))}: {error}", file=sys.stderr)


def _named(paths: list[Path], total: int) -> str:
    """Name the first of the files that failed alike, and count them."""
    if len(paths) <= MAX_NAMED:
        return ", ".join(map(str, paths))
    example = "" if len(paths) == total else f", such as {paths[0]}"
    return f"{len(paths)} of {total} files{example}"


def _print_classes(path: Path, answer: Classification) -> None:
    rows = [[found.label, f"{found.probability:.4f}"] for found in answer.predictions]
    print(f"{path}: {answer.model} version {answer.model_version}, {_server_ms(answer)}")
    print_rows([Column("class", overflow="fold"), Column("probability", justify="right")], rows)


def _print_files(answered: list[tuple[Path, Classification]]) -> None:
    columns = [
        Column("file", overflow="fold"),
        Column("class", overflow="fold"),
        Column("probability", justify="right", no_wrap=True),
        Column("next", overflow="fold"),
        Column("time", justify="right", no_wrap=True),
        Column("model", overflow="fold"),
        Column("version", justify="right", no_wrap=True),
    ]
    print_rows(columns, [_row(path, answer) for path, answer in answered], ("model", "version"))


def _row(path: Path, answer: Classification) -> list[str]:
    second = [f"{found.label} {found.probability:.3f}" for found in answer.predictions[1:2]]
    return [
        str(path),
        answer.label,
        f"{answer.probability:.4f}",
        *(second or [""]),
        _server_ms(answer),
        answer.model,
        str(answer.model_version),
    ]


def _server_ms(answer: Classification) -> str:
    timing = answer.timing
    server_s = timing.decode_s + timing.queue_s + timing.inference_s + timing.respond_s
    return f"{server_s * 1000:.1f} ms"
