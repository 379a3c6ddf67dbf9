"""The log of predictions: rows of real calls in readable files, and no harm by a bad store."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest

from convoy import AsyncClient, Client
from convoy.commands.group import run
from convoy.service.errors import StartError
from convoy.service.security.tokens import Token
from convoy.service.serving.monitoring import parts, predictions, stores, worker
from tests.harness import tiny
from tests.harness.calls import infer_request
from tests.harness.collector import Collector
from tests.harness.http import ask
from tests.harness.images import png
from tests.harness.server import Running, Serve
from tests.harness.server_process import ServerProcess

FAILED = "the prediction log cannot be written"
DROPPED = "convoy_prediction_log_dropped_total"


def logged(log: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a server that logs every prediction."""
    return {"prediction_log": str(log), "prediction_log_share": "1"} | changes


def rows(log: Path) -> list[dict[str, Any]]:
    """Return the rows of every part, as a program that reads the folder has them."""
    return pq.read_table(log).to_pylist() if list(log.rglob("part-*")) else []


async def until_rows(log: Path, count: int) -> list[dict[str, Any]]:
    """Wait for that many rows."""
    async with asyncio.timeout(20):
        while len(found := rows(log)) < count:  # noqa: ASYNC110 - a thread writes
            await asyncio.sleep(0.05)
    return found


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finish parts, and try again, at once."""
    monkeypatch.setattr(parts, "MAX_AGE_S", 0.0)
    monkeypatch.setattr(parts, "RETRY_S", 0.1)


@pytest.mark.both_transports
@pytest.mark.with_fronts
async def test_rows(serve: Serve, tmp_path: Path) -> None:
    """
    Each image has a row with its answer, its times, its look and its client; never a token.
    """
    token, secret = Token.make("camera 7", ["infer"])
    tokens = tmp_path / "tokens"
    tokens.write_text(token.line.replace("camera 7", "camera-7") + "\n")
    tokens.chmod(0o600)
    log = tmp_path / "log"
    async with (
        serve(**logged(log, token_file=str(tokens))) as running,
        AsyncClient(running.address, token=secret) as client,
    ):
        answer = await client.classify(png(3), model="tiny")
        await client.classify_batch([png(1), b"no image"], model="tiny")
        metadata = (("authorization", f"Bearer {secret}"), ("x-request-id", "mine"))
        await running.inference.ModelInfer(infer_request(2, 4), metadata=metadata)
    found = rows(log)
    single, good, bad, *tensors = sorted(found, key=lambda r: (r["method"], r["reason"]))
    assert single["labels"][0] == answer.label == "class 3"
    assert single["probabilities"][0] == pytest.approx(answer.probability, rel=1e-6)
    assert single["inference_s"] == pytest.approx(answer.timing.inference_s, abs=1e-6)
    assert (single["client"], single["model"], single["version"]) == ("camera-7", "tiny", 1)
    assert (single["format"], single["width"], single["height"]) == ("PNG", 4, 4)
    assert single["image_sha256"] == hashlib.sha256(png(3)).hexdigest()
    assert single["brightness"] == pytest.approx(3 / 255 / 16, rel=1e-3)
    assert 0 < single["entropy"] < 0.01
    assert (good["labels"][0], good["reason"]) == ("class 1", "")
    assert (bad["labels"], bad["reason"]) == (None, "INVALID_IMAGE")
    assert [row["class_indices"][0] for row in tensors] == [2, 4]
    assert {row["request_id"] for row in tensors} == {"mine"}
    assert not any(secret in str(row) or "127.0.0.1" in str(row) for row in found)
    (part,) = {path.parent for path in log.rglob("part-*")}
    assert part.relative_to(log).as_posix().startswith("model=tiny/day=20")


async def test_token_in_place_of_an_identifier(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A token that a client sends as the identifier of its request is in neither the log nor a span.
    """
    _, secret = Token.make("camera-7", ["infer"])
    log = tmp_path / "log"
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.grpc_port}")
        async with serve(**logged(log, traces="calls")) as running:
            metadata = (("x-request-id", secret),)
            await running.inference.ModelInfer(infer_request(3), metadata=metadata)
        (span,) = await asyncio.to_thread(collector.wait_for, 1)
    (row,) = rows(log)
    assert row["request_id"] == span["attributes"]["convoy.request_id"] == "[token]"


@pytest.mark.parametrize("share", ["0,tiny=0.25", "tiny=0.25"])
async def test_share(serve: Serve, tmp_path: Path, soon: None, share: str) -> None:
    """
    A share of the requests is logged; that of a named model applies to it alone.
    """
    tiny.write(tmp_path, name="other")
    log = tmp_path / "log"
    async with (
        serve(**logged(log, prediction_log_share=share)) as running,
        AsyncClient(running.address) as client,
    ):
        for _ in range(200):
            await client.classify(png(3), model="tiny")
            await client.classify(png(3), model="other")
    found = rows(log)
    assert {row["model"] for row in found} == {"tiny"}
    assert 20 <= len(found) <= 80  # 50 expected, deviation 6


async def test_images(serve: Serve, tmp_path: Path, soon: None) -> None:
    """
    With images, each is kept once, under its hash.
    """
    log = tmp_path / "log"
    async with (
        serve(**logged(log, prediction_log_images=True)) as running,
        AsyncClient(running.address) as client,
    ):
        for first in (1, 2, 1):
            await client.classify(png(first), model="tiny")
    kept = [path for path in log.rglob("*") if path.is_file() and path.suffix == ".png"]
    assert pq.read_table(log).num_rows == 3  # readers of Parquet folders skip _images
    assert sorted(path.read_bytes() for path in kept) == sorted([png(1), png(2)])
    # Readers of the folder skip the images.
    assert pq.read_table(log).num_rows == 3
    for path in kept:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
        assert path.parent.name == path.stem[:2]


async def test_store_that_fails(
    serve: Serve, tmp_path: Path, soon: None, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """
    Answers go on while nothing can be written; rows beyond the bounds are dropped and counted, one
    line tells of it, and what waited is written when the store is back.
    """
    caplog.set_level("INFO")
    log = tmp_path / "log"
    monkeypatch.setattr(parts, "MAX_FILES", 2)
    monkeypatch.setattr(worker, "MAX_WAITING", 10)
    async with serve(**logged(log)) as running, AsyncClient(running.address) as client:
        log.rename(tmp_path / "away")
        log.write_text("a file in place of the folder")
        async with asyncio.timeout(30):
            while not (FAILED in caplog.messages and running.sample(DROPPED, reason="queue_full")):
                assert (await client.classify(png(3), model="tiny")).label == "class 3"
        log.unlink()
        assert await until_rows(log, 1)
        await client.classify(png(4), model="tiny")
    assert "class 4" in [row["labels"][0] for row in rows(log)]
    assert caplog.messages.count(FAILED) == 1
    assert "the prediction log is written again" in caplog.messages


async def test_slow_store(
    running: Running, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A store that does not return delays no answer.
    """
    real, answered = stores.FolderStore.write, threading.Event()

    def slow(self: Any, path: str, content: bytes) -> None:
        answered.wait(60)
        real(self, path, content)

    monkeypatch.setattr(parts, "MAX_AGE_S", 0.0)
    monkeypatch.setattr(stores.FolderStore, "write", slow)
    log = tmp_path / "log"
    async with serve(**logged(log)) as running, AsyncClient(running.address) as client:
        async with asyncio.timeout(50):
            for _ in range(50):
                await client.classify(png(3), model="tiny")
        answered.set()
    assert rows(log)


def test_kill_leaves_readable_parts(tmp_path: Path) -> None:
    """
    A server that is killed leaves only whole parts.
    """
    tiny.write(tmp_path / "models")
    log = tmp_path / "log"
    program = (
        "from convoy.service.serving.monitoring import parts; parts.MAX_AGE_S = 0.0; "
        "from convoy.__main__ import main; main()"
    )
    options = ("--prediction-log", str(log), "--prediction-log-share", "1")
    server = ServerProcess(tmp_path / "models", *options, program=("-c", program))
    with server, Client(server.address) as client:
        ends_at = time.monotonic() + 20
        while len(list(log.rglob("part-*"))) < 3 and time.monotonic() < ends_at:
            client.classify(png(3), model="tiny")
        server.kill()
    found = rows(log)
    assert found
    assert {row["labels"][0] for row in found} == {"class 3"}


async def test_full_disk(
    serve: Serve, tmp_path: Path, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A full disk leaves no half of a file, and answers go on.
    """

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    log = tmp_path / "log"
    async with serve(**logged(log)) as running, AsyncClient(running.address) as client:
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            for _ in range(5):
                assert (await client.classify(png(3), model="tiny")).label == "class 3"
            await asyncio.sleep(0.6)
            assert not [path for path in log.rglob("*") if path.is_file()]
        assert len(await until_rows(log, 5)) == 5


async def test_without_pyarrow(
    serve: Serve, tmp_path: Path, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Without pyarrow, the rows are JSON Lines.
    """
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    log = tmp_path / "log"
    async with serve(**logged(log)) as running, AsyncClient(running.address) as client:
        await client.classify(png(3), model="tiny")
    (path,) = log.rglob("part-*.jsonl")
    (row,) = map(json.loads, path.read_text().splitlines())
    assert (row["labels"][0], row["version"]) == ("class 3", 1)
    assert path.parent.parent.name == "model=tiny"


def test_same_image_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Two processes that write the same image at the same time disturb each other in nothing.
    """
    one, other = stores.FolderStore(tmp_path), stores.FolderStore(tmp_path)

    def write_with_the_other(_: int) -> None:
        monkeypatch.undo()
        other.write("images/one.png", b"image")

    # The first one has written its file, and not renamed it.
    monkeypatch.setattr(os, "fsync", write_with_the_other)
    one.write("images/one.png", b"image")
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["one.png"]


async def test_more_images_than_files_wait(
    serve: Serve, tmp_path: Path, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A store that keeps up gets all images at once, however few files may wait for it.
    """
    monkeypatch.setattr(parts, "MAX_FILES", 2)
    monkeypatch.setattr(worker, "ROUND_S", 5.0)
    log = tmp_path / "log"
    async with (
        serve(**logged(log, prediction_log_images=True)) as running,
        AsyncClient(running.address) as client,
    ):
        await client.classify_batch([png(first) for first in range(40)], model="tiny")
        # In rounds of two images, that would take more than a minute.
        assert len(await until_rows(log, 40)) == 40
    assert len(list(log.rglob("*.png"))) == 40


async def test_bytes_that_wait(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The bound on requests that wait counts images, tensors and outputs.
    """
    data, tensor_bytes, output_bytes = png(3), tiny.SIDE**2, 2 * 4 * tiny.CLASSES
    monkeypatch.setattr(worker, "MAX_WAITING_BYTES", len(data) + tensor_bytes + output_bytes - 1)
    log = tmp_path / "log"
    async with serve(**logged(log)) as running, AsyncClient(running.address) as client:
        await client.classify(data, model="tiny")
        assert running.sample(DROPPED, reason="queue_full") == 1
        monkeypatch.undo()
        await client.classify(data, model="tiny")
        assert running.sample(DROPPED, reason="queue_full") == 1


async def test_store_that_does_not_return_at_the_end(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A store that does not return when the server stops holds up its end for a limited time.
    """
    returned = threading.Event()
    monkeypatch.setattr(stores.FolderStore, "write", lambda *_: returned.wait(60))
    monkeypatch.setattr(predictions, "CLOSE_TIMEOUT_S", 0.2)
    log = tmp_path / "log"
    async with (
        serve(**logged(log)) as running,
        AsyncClient(running.address) as client,
    ):
        await client.classify(png(3), model="tiny")
        ending = time.monotonic()
    assert time.monotonic() - ending < 30
    assert "the last predictions were not logged" in caplog.messages
    returned.set()


async def test_version_with_a_large_number(serve: Serve, tmp_path: Path, soon: None) -> None:
    """
    Versions may be numbered by date and time, which takes more than 32 bits.
    """
    number = 202611302359
    tiny.renumber(tmp_path / "tiny" / "1", number)
    log = tmp_path / "log"
    async with serve(**logged(log)) as running, AsyncClient(running.address) as client:
        await client.classify(png(3), model="tiny")
        (row,) = await until_rows(log, 1)
    assert row["version"] == number


async def test_part_that_cannot_be_made(
    serve: Serve, tmp_path: Path, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The rows of a part that cannot be made are counted as lost, and the next ones are written.
    """
    log = tmp_path / "log"
    encode = parts.Parquet.encode

    def fail_once(layout: parts.Parquet, rows: list[parts.Row]) -> bytes:
        monkeypatch.setattr(parts.Parquet, "encode", encode)
        raise ValueError("it cannot be made")

    monkeypatch.setattr(parts.Parquet, "encode", fail_once)
    async with serve(**logged(log)) as running, AsyncClient(running.address) as client:
        await client.classify(png(3), model="tiny")
        await running.until(lambda: parts.Parquet.encode is encode)
        await client.classify(png(2), model="tiny")
        (row,) = await until_rows(log, 1)
        assert running.sample(DROPPED, reason="internal_error") == 1
    assert row["labels"][0] == "class 2"


async def test_occlusion_is_not_logged(serve: Serve, tmp_path: Path, soon: None) -> None:
    """
    Images with hidden parts, which no client has sent, are no predictions.
    """
    log = tmp_path / "log"
    async with serve(**logged(log)) as running:
        path = "/page/models/tiny/versions/1/occlusion"
        assert (await ask("POST", f"{running.url}{path}", png(77))).status == 200
    assert rows(log) == []


async def test_to_folder(
    serve: Serve, tmp_path: Path, soon: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The images of a log become a folder for each predicted class; names begin with the probability.
    """
    log, folder = tmp_path / "log", tmp_path / "to-label"
    async with (
        serve(**logged(log, prediction_log_images=True)) as running,
        AsyncClient(running.address) as client,
    ):
        for first in (1, 2, 7, 1):
            await client.classify(png(first), model="tiny")
        await until_rows(log, 4)
    assert run(["predictions", "to-folder", str(log), str(folder)]) == 0
    assert "     3  images in" in capsys.readouterr().out
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}
    assert sorted(found.values()) == sorted([png(1), png(2), png(7)])
    assert sorted(name.split("-")[0] for name in found) == [
        *("class 1/1.000", "class 2/1.000", "class 2/1.000"),
    ]
    for arguments, message in (
        ([str(log), str(folder)], "is not empty; name another folder"),
        ([str(log), str(tmp_path / "new"), "--model", "other"], "no model other; it has tiny"),
        (
            [str(log), str(tmp_path / "new"), "--max-probability", "0.1"],
            "all answers are more certain than --max-probability 0.1; the least certain one has 1",
        ),
        ([str(tmp_path / "none"), str(tmp_path / "new")], "none is not a folder"),
    ):
        assert run(["predictions", "to-folder", *arguments]) == 1
        assert message in capsys.readouterr().err


def test_folder_without_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A folder that is no log is reported as such, whatever the options.
    """
    for options in ([], ["--model", "tiny"]):
        arguments = ["predictions", "to-folder", str(tmp_path), str(tmp_path / "new"), *options]
        assert run(arguments) == 1
        told = f"{tmp_path} has no predictions; name the --prediction-log of a server"
        assert told in capsys.readouterr().err


def test_classes_that_share_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Classes with one label, or whose labels lead to one name of a folder, have folders of their own.
    """
    log, folder = tmp_path / "log", tmp_path / "to-label"
    answers = [("crane", 134), ("crane", 517), ("a/b", 1), ("a_b", 2), ("dog.", 3), ("...", 4)]
    _write_log(log, [([label], [index]) for label, index in answers])
    assert run(["predictions", "to-folder", str(log), str(folder)]) == 0
    names = ["_", "a_b (1)", "a_b (2)", "crane (134)", "crane (517)", "dog"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert all(len(list(path.iterdir())) == 1 for path in folder.iterdir())
    assert "     1  crane (517)" in capsys.readouterr().out


def test_repeated_image(tmp_path: Path) -> None:
    """
    An image is in the folder of its first answer, whichever part of the log has it.
    """
    log, folder = tmp_path / "log", tmp_path / "to-label"
    _write_log(log, [(["later"], [0])])
    # The first of two answers in the second part of three, as parts have random names.
    for name, label, second in (("part-1", "first", 7), ("part-2", "last", 59)):
        line = _line(0, [label], [1], f"2026-01-01 11:59:{second:02}.5+00:00")
        (log / "model=m" / "day=2026-01-01" / f"{name}.jsonl").write_text(line)
    assert run(["predictions", "to-folder", str(log), str(folder)]) == 0
    assert [path.name for path in folder.iterdir()] == ["first"]


def test_log_below_a_folder_with_the_name_of_a_part(tmp_path: Path) -> None:
    """
    Only folders in the log name models, and not those that it is in.
    """
    log, folder = tmp_path / "model=other" / "log", tmp_path / "to-label"
    _write_log(log, [(["a"], [0])])
    assert run(["predictions", "to-folder", str(log), str(folder), "--model", "m"]) == 0
    assert [path.name for path in folder.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["part-1.parquet", "part-1.jsonl"])
def test_damaged_part(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A part that cannot be read ends the command with one line that names it.
    """
    log = tmp_path / "log"
    _write_log(log, [(["a"], [0])])
    (log / "model=m" / "day=2026-01-01" / name).write_bytes(b'{"labels"')
    assert run(["predictions", "to-folder", str(log), str(tmp_path / "to-label")]) == 1
    assert f"{name} is damaged: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("3", "row 0: Input should be a valid dictionary"),
        ("{}", "row 0.time: Field required"),
        ('{"time": "2026-01-01T12:00Z", "labels": ["a"]}', "a row has labels without classes"),
    ],
)
def test_row_of_another_form(
    tmp_path: Path, line: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A row of JSON that is none of a log ends the command with one line that names the field.
    """
    log = tmp_path / "log"
    _write_log(log, [(["a"], [0])])
    (log / "model=m" / "day=2026-01-01" / "part-1.jsonl").write_text(line)
    assert run(["predictions", "to-folder", str(log), str(tmp_path / "to-label")]) == 1
    assert f"part-1.jsonl is damaged: {problem}" in capsys.readouterr().err


def test_store_that_cannot_be_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """
    A store that cannot be reached is reported in one line with the remedy.
    """
    store = fsspec.filesystem("memory")
    store.pipe_file("/gone/model=m/day=2026-01-01/part-1.jsonl", b"{}")

    def fail(*_: object, **__: object) -> bytes:
        raise ConnectionError("refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(store), "cat_file", fail)
        arguments = ["predictions", "to-folder", "memory://gone", str(tmp_path / "to-label")]
        assert run(arguments) == 1
    assert "the store cannot be reached (refused); check the network" in capsys.readouterr().err


def _write_log(log: Path, answers: Sequence[tuple[list[str], list[int]]]) -> None:
    """Write a log of images, each with the labels and the indices of its answer."""
    part = log / "model=m" / "day=2026-01-01"
    part.mkdir(parents=True)
    (log / "_images").mkdir()
    lines = []
    for number, (labels, indices) in enumerate(answers):
        (log / "_images" / f"{number:064}.png").write_bytes(png(number))
        lines.append(_line(number, labels, indices, "2026-01-01 12:00:00+00:00"))
    (part / "part-0.jsonl").write_text("\n".join(lines))


def _line(number: int, labels: list[str], indices: list[int], time: str) -> str:
    """Return a row of a log, in JSON."""
    row = {"labels": labels, "class_indices": indices, "probabilities": [1.0]}
    return json.dumps(row | {"time": time, "image_sha256": f"{number:064}"})


async def test_refusals(serve: Serve, tmp_path: Path) -> None:
    """
    A folder that cannot be written stops the start, with its name.
    """
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=r"cannot write to .*file/log: Not a directory"):
        async with serve(prediction_log=str(tmp_path / "file" / "log")):
            pass
