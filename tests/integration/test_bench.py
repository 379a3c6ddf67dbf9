"""`convoy bench` on a real server."""

import asyncio
import io
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from convoy.commands.bench.bench_settings import BenchSettings
from convoy.commands.bench.load_results import Report
from convoy.commands.bench.load_table import print_table
from convoy.commands.bench.load_test import measure
from convoy.commands.bench.target import BenchError
from tests.harness.images import png
from tests.harness.server import Running, Serve


@pytest.fixture
async def lenet(serve: Serve, lenet_repository: Path) -> AsyncIterator[Running]:
    """A server with a model that takes any pixels."""
    async with serve(model_repository=lenet_repository) as running:
        yield running


async def bench(
    running: Running, images: list[Path] | None = None, model: str = "lenet5", **changes: Any
) -> Report:
    """A short measurement."""
    usual = {"address": running.address, "seconds": 0.2, "warmup_s": 0.0, "model": model}
    return await measure(BenchSettings.model_validate(usual | changes), images or [])


def table(report: Report) -> str:
    """Return the table as a narrow terminal shows it."""
    output = io.StringIO()
    print_table(report, Console(file=output, width=40, highlight=False, markup=False))
    return output.getvalue()


async def test_closed_loop(lenet: Running) -> None:
    """
    Each load is put on; the server counted as many requests as were measured or more; it was asked
    for the batch that was wanted.
    """
    report = await bench(lenet, concurrency="1,3", batch_size=2)
    assert [step.concurrency for step in report.steps] == [1, 3]
    assert all(step.requests and not step.failed for step in report.steps)
    counted = lenet.sample("convoy_requests_total", model="lenet5", method="ModelInfer", code="OK")
    assert counted == sum(step.requests for step in report.steps)
    assert report.server.startswith("convoy ")
    text = table(report)
    assert "3 in flight" in text
    assert "…" not in text
    assert "a request is 2 images, image UINT8 [2, " in text


async def test_open_loop(lenet: Running) -> None:
    """
    An open loop sends what its rate says.
    """
    report = await bench(lenet, rate="100", arrivals="constant", seconds=0.5)
    (step,) = report.steps
    assert (step.rate_per_s, step.requests, step.failed) == (100.0, 49, {})
    assert step.latency(0) > 0


async def test_encoded_images(lenet: Running, tmp_path: Path) -> None:
    """
    Files are sent as they are, in turn; one that is no image fails as the server says.
    """
    files = [tmp_path / f"{index}.png" for index in range(3)]
    for index, file in enumerate(files[:2]):
        file.write_bytes(png(index))
    report = await bench(lenet, files[:2], concurrency="1", batch_size=3)
    assert "BYTES [3]" in report.input
    assert not report.steps[0].failed
    files[2].write_bytes(b"rubbish")
    report = await bench(lenet, files, concurrency="1")
    assert set(report.steps[0].failed) == {"INVALID_ARGUMENT"}
    assert report.steps[0].latency_ms
    assert "INVALID_ARGUMENT: " in table(report)


async def test_overload_is_counted(serve: Serve, lenet_repository: Path) -> None:
    """
    Refusals are failures by their status, with what the server said, and no latencies.
    """
    small = {"max_queue_size": 1, "max_batch_size": 1, "max_images_per_call": 1}
    async with serve(model_repository=lenet_repository, **small) as running:
        with running.device_held():
            report = await bench(running, concurrency="8", timeout_s=0.1)
    failed = report.steps[0].failed
    assert failed["RESOURCE_EXHAUSTED"]
    assert failed["DEADLINE_EXCEEDED"]
    assert not report.steps[0].latency_ms
    assert "images are waiting" in report.failures["RESOURCE_EXHAUSTED"]


async def start(lenet: Running, *arguments: str) -> asyncio.subprocess.Process:
    """The command as a person would type it."""
    command = [sys.executable, "-m", "convoy", "bench", "lenet5", "--address", lenet.address]
    return await asyncio.create_subprocess_exec(
        *command, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


async def test_no_answer(lenet: Running, tmp_path: Path) -> None:
    """
    If every request is refused, there is nothing to draw, and a line says so.
    """
    image, plot = tmp_path / "image.png", tmp_path / "plot.png"
    image.write_bytes(b"not an image")
    load = ("--concurrency", "1", "--seconds", "0.1", "--warmup-s", "0")
    process = await start(lenet, *load, "--images", str(image), "--plot", str(plot))
    output, errors = await process.communicate()
    assert process.returncode == 1
    assert b"INVALID_ARGUMENT: " in output
    assert errors.decode().endswith(f"{plot} is not drawn: no request was answered\n")
    assert not plot.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted(lenet: Running, tmp_path: Path, number: signal.Signals) -> None:
    """
    Results from before Ctrl-C are printed, written and drawn; the exit code is 130.
    """
    pytest.importorskip("matplotlib", reason="drawing needs matplotlib")
    file, plot = tmp_path / "new" / "report.json", tmp_path / "plot.png"
    process = await start(
        lenet, "--concurrency", "1,2,4", "--seconds", "1", "--json", str(file), "--plot", str(plot)
    )
    assert process.stderr
    while b"1/3  2 in flight" not in await process.stderr.readline():
        pass
    process.send_signal(number)
    output, errors = await process.communicate()
    assert (process.returncode, errors) == (130, b"")
    assert b"interrupted: the loads after these were not applied" in output
    report = Report.model_validate_json(file.read_bytes())
    assert [step.name for step in report.steps] == ["1 in flight"]
    assert report.interrupted
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("scenario", ["server", "offline"])
async def test_mlperf(lenet: Running, tmp_path: Path, scenario: str) -> None:
    """
    MLPerf's own generator puts its load on and finds a result.
    """
    pytest.importorskip("mlperf_loadgen", reason="the scenarios are MLPerf's")
    arguments = ["--mlperf", scenario, "--rate", "50", "--seconds", "1", "--p99-ms", "1000"]
    process = await start(lenet, *arguments, "--mlperf-logs", str(tmp_path / "logs"))
    output, errors = await process.communicate()
    assert errors == b""
    assert b"Scenario : " + scenario.capitalize().encode() in output
    assert b"requests failed" not in output
    assert (process.returncode == 0) == (b"Result is : VALID" in output)
    answered = lenet.sample("convoy_requests_total", model="lenet5", method="ModelInfer", code="OK")
    assert answered
    assert answered > 40


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "nothing"}, "no model is named 'nothing'"),
        ({"address": "127.0.0.1:1"}, r"cannot reach 127\.0\.0\.1:1: is `convoy serve` running\?"),
    ],
)
async def test_nothing_to_measure(lenet: Running, changes: dict[str, Any], message: str) -> None:
    """
    An unknown model and an absent server are errors of one line.
    """
    with pytest.raises(BenchError, match=message):
        await bench(lenet, **changes)
