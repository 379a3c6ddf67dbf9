"""The commands that talk to a server, run as a person would type them."""

import asyncio
import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from convoy import __version__
from convoy.__main__ import main
from convoy.commands.group import COMMANDS
from convoy.service.runtime.cuda import has_cuda
from tests.harness import tiny
from tests.harness.images import png
from tests.harness.server import Running, Serve


async def convoy(*arguments: str) -> int:
    """Run a command in a thread, as the server lives in this process."""
    return await asyncio.to_thread(main, list(arguments))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of images, one of them bad, and a file that is no image."""
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    for first in range(3):
        (folder / f"{first}.png").write_bytes(png(first))
    (folder / "inner" / "4.PNG").write_bytes(png(4))
    (folder / "notes.txt").write_text("not an image")
    (folder / "._0.png").write_bytes(b"a Mac was here")
    (folder / "folder.png").mkdir()
    return folder


async def test_classify_table(
    running: Running,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Files and folders become the rows of a table, in the order of their names, below their model.
    """
    monkeypatch.chdir(folder.parent)
    assert await convoy("classify", "images", "--address", running.address) == 0
    model, columns, *rows = capsys.readouterr().out.splitlines()
    assert model == "in every row: model tiny, version 1"
    assert columns.split() == ["file", "class", "probability", "next", "time"]
    names = ("0.png", "1.png", "2.png", "inner/4.PNG")
    assert [row.split()[:4] for row in rows] == [
        [f"images/{name}", "class", Path(name).stem, "0.9998"] for name in names
    ]


async def test_names_that_are_no_text(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A file whose name is not UTF-8 is classified; a model's name that is not is refused.
    """
    path = tmp_path / "caf\udce9.png"
    path.write_bytes(png(3))
    options = (str(path), "--address", running.address)
    program = [sys.executable, "-m", "convoy", "classify", *options]
    process = await asyncio.create_subprocess_exec(*program, stdout=subprocess.PIPE)
    shown, _ = await process.communicate()
    assert process.returncode == 0
    assert b"caf\\udce9.png: tiny version 1" in shown
    assert await convoy("classify", *options, "--model", "caf\udce9") == 2
    assert capsys.readouterr().err == "convoy classify: --model: the text is not valid UTF-8\n"


async def test_classify_one_file(
    running: Running, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Each class of a single file has a row.
    """
    options = ("--address", running.address, "--top-k", "3")
    assert await convoy("classify", str(folder / "1.png"), *options) == 0
    file, columns, *rows = capsys.readouterr().out.splitlines()
    assert file.startswith(f"{folder / '1.png'}: tiny version 1, ")
    assert columns.split() == ["class", "probability"]
    assert rows[0].split() == ["class", "1", "0.9998"]
    assert len(rows) == 3


async def test_classify_errors(
    running: Running,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    An error is one line, whether it concerns one file or all of them.
    """
    (folder / "bad.png").write_bytes(b"nope")
    monkeypatch.chdir(folder.parent)
    address = ("--address", running.address)
    assert await convoy("classify", "images", *address) == 1
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 6
    assert shown.err.startswith("convoy classify: images/bad.png: ")
    assert await convoy("classify", "no.png", "images", "none.png", *address) == 1
    assert "convoy classify: no.png, none.png: No such file" in capsys.readouterr().err
    assert await convoy("classify", "images", *address, "--model", "tini") == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        "convoy classify: 5 of 5 files: no model is named 'tini' (MODEL_NOT_FOUND); did you mean "
        "tiny?\n"
    )


@pytest.mark.both_transports
async def test_classify_an_image_that_is_too_large(
    serve: Serve, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A first image that no server takes is an error of its own; the others are answered.
    """
    (folder / "+.png").write_bytes(bytes(100_000))
    async with serve(max_message_bytes=50_000, max_image_bytes=50_000) as running:
        options = ("--address", running.address, "--concurrency", "1", "--top-k", "1", "--csv")
        assert await convoy("classify", str(folder), *options) == 1
    first, *others = csv.DictReader(capsys.readouterr().out.splitlines())
    assert "50000" in first["error"]
    assert [row["label"] for row in others] == ["class 0", "class 1", "class 2", "class 4"]


async def test_classify_json(
    running: Running, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Programs get JSON; a bad file has an error, the others their answers, and the code is 1.
    """
    (folder / "bad.png").write_bytes(b"nope")
    options = ("--address", running.address, "--json", "--top-k", "2", "--model", "tiny")
    assert await convoy("classify", str(folder), str(folder / "none.png"), *options) == 1
    rows = {Path(row["file"]).name: row for row in json.loads(capsys.readouterr().out)}
    assert rows["4.PNG"]["predictions"][0]["label"] == "class 4"
    assert len(rows["4.PNG"]["predictions"]) == 2
    assert rows["bad.png"]["error"].endswith("(INVALID_IMAGE)")
    assert rows["none.png"]["error"] == "No such file or directory"
    assert "notes.txt" not in rows


async def test_json_by_variable(
    running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Every option is a variable, too, and no variable without the prefix is one.
    """
    monkeypatch.setenv("JSON", "/not/a/boolean")
    monkeypatch.setenv("CSV", "/not/a/boolean")
    monkeypatch.setenv("CONVOY_ADDRESS", running.address)
    monkeypatch.setenv("CONVOY_PRINT_JSON", "1")
    assert await convoy("models") == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "tiny"


async def test_classify_csv(
    running: Running, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Spreadsheets get one line per class.
    """
    options = ("--address", running.address, "--csv", "--top-k", "3")
    assert await convoy("classify", str(folder / "1.png"), *options) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["label"] == "class 1"


async def test_classify_in_two_formats(capsys: pytest.CaptureFixture[str]) -> None:
    """
    JSON and CSV at once is a mistake, and neither is chosen silently.
    """
    assert await convoy("classify", "x.png", "--json", "--csv") == 2
    assert "--json and --csv exclude each other" in capsys.readouterr().err


async def test_classify_nothing(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A folder without images is an error, not an empty table.
    """
    (tmp_path / "empty").mkdir()
    assert await convoy("classify", str(tmp_path / "empty"), "--address", running.address) == 1
    assert "no images in" in capsys.readouterr().err


async def test_classify_must_choose(
    serve: Serve, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The command asks for a name if there are several models.
    """
    models = tmp_path / "models"
    tiny.write(models, "one")
    tiny.write(models, "two")
    async with serve(model_repository=models) as running:
        assert await convoy("classify", str(folder), "--address", running.address) == 1
        assert "--model: one, two" in capsys.readouterr().err


@pytest.mark.skipif(has_cuda(), reason="this ONNX Runtime has CUDA")
async def test_models(
    serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The models are listed, with the reason of a fallback, as a table and as JSON.
    """
    monkeypatch.setattr("convoy.service.runtime.session.has_gpu", lambda: True)
    async with serve() as running:
        address = ("--address", running.address)
        assert await convoy("models", *address) == 0
        columns, row, reason = capsys.readouterr().out.splitlines()
        assert columns.split()[0] == "model"
        assert row.split() == ["tiny", "1", "tiny", "4x4x1", "5", "8", "CPU"]
        assert reason.startswith("running on the CPU: tiny: this ONNX Runtime was built without")
        assert await convoy("models", *address, "--json") == 0
        (model,) = json.loads(capsys.readouterr().out)
        assert model["name"] == "tiny"
        assert "the extra gpu" in model["fallback_reason"]
        assert running.sample("convoy_provider_fallback", model="tiny") == 1


async def test_models_of_one_kind(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Values that several models have in common are stated once, and each line fits a terminal.
    """
    models = tmp_path / "models"
    tiny.write(models, "one")
    tiny.write(models, "two")
    async with serve(model_repository=models, device="cpu") as running:
        assert await convoy("models", "--address", running.address) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "in every row: architecture tiny, input 4x4x1, classes 5, batch 8, provider CPU",
        "model  version",
        "one    1",
        "two    1",
    ]


@pytest.mark.parametrize(
    "command",
    [
        ("models",),
        ("classify", "images"),
        ("classify", "images", "--model", "tiny"),
    ],
)
async def test_no_server(
    command: tuple[str, ...],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A server that is not there is one line and code 1, for any number of files.
    """
    monkeypatch.chdir(folder.parent)
    assert await convoy(*command, "--address", "127.0.0.1:1", "--timeout-s", "5") == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"convoy {command[0]}: ")
    assert "cannot reach 127.0.0.1:1: is `convoy serve` running?" in error


async def test_reader_that_ends_first(running: Running) -> None:
    """
    A command whose output nobody reads any more ends without a traceback.
    """
    command = f"{sys.executable} -m convoy models --json --address {running.address} | true"
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"set -o pipefail; {command}"), stderr=subprocess.PIPE
    )
    _, errors = await shell.communicate()
    assert errors == b""
    assert shell.returncode == 141


async def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Without a command, convoy says what it is, and lists the commands with examples.
    """
    for arguments in ((), ("--help",)):
        assert await convoy(*arguments) == 0
        shown = capsys.readouterr().out
        assert "Serve image classification networks over gRPC and HTTP" in shown
        assert all(f"  {command} " in shown for command in COMMANDS)
        assert "convoy classify photo.jpg" in shown
        assert max(map(len, shown.splitlines())) <= 80
    assert await convoy("--version") == 0
    assert capsys.readouterr().out == f"convoy {__version__}\n"


async def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A misspelt command is answered with the closest one, another one with all of them.
    """
    for name, advice in (("clasify", "did you mean classify?"), ("xyz", "expected one of export,")):
        assert await convoy(name) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert advice in line
