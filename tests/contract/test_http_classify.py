"""Classification as a plain HTTP call: what `curl` sends, and the same rules as over gRPC."""

from __future__ import annotations

import asyncio
import subprocess
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from convoy.pb.convoy.v1 import classifier_pb2 as pb
from tests.harness import tiny
from tests.harness.calls import check_error
from tests.harness.http import Answer, Connection
from tests.harness.images import png
from tests.harness.server import Running, Serve

CLASSIFY = "/v1/models/tiny/classify"


async def ask(
    running: Running,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    method: str = "",
) -> Answer:
    """Send a request, with a query if the path has one: POST if it has a body."""
    async with Connection(running.url) as connection:
        return await connection.ask(method or ("POST" if body else "GET"), path, body, headers)


def form(*parts: tuple[str, str, bytes], boundary: str = "limit") -> tuple[bytes, dict[str, str]]:
    """Return a form of (name, file name, content), and its headers; no file name is a field."""
    body = b""
    for name, file, content in parts:
        of_file = f'; filename="{file}"' if file else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{of_file}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return body + f"--{boundary}--\r\n".encode(), headers


async def curl(running: Running, *arguments: str) -> str:
    """Return what curl prints."""
    command = ["curl", "--silent", "--show-error", *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout


async def test_image_as_the_body(running: Running) -> None:
    """
    The body is an image, whatever its media type; the answer is that of gRPC.
    """
    expected = await running.classifier.Classify(
        pb.ClassifyRequest(model="tiny", image=png(7), top_k=2)
    )
    for media_type in ("", "image/png", "application/x-www-form-urlencoded", "text/plain"):
        headers = {"content-type": media_type} if media_type else {}
        for path in (CLASSIFY, "/v1/models/tiny/versions/1/classify"):
            answer = await ask(running, f"{path}?top_k=2", png(7), headers)
            assert answer.status == 200
            assert answer.headers["x-request-id"]
            told = answer.json()
            assert (told["model"], told["model_version"]) == ("tiny", 1)
            assert told["model_sha256"] == expected.model_sha256
            assert [p["label"] for p in told["predictions"]] == ["class 2", "class 0"]
            for found, right in zip(told["predictions"], expected.predictions, strict=True):
                assert found["class_index"] == right.class_index
                assert found["probability"] == pytest.approx(right.probability, rel=1e-6)
            assert told["timing"]["batch_size"] == 1
            assert told["timing"]["inference_us"] > 0


async def test_curl(running: Running, tmp_path: Path) -> None:
    """
    The commands of the documentation work: --data-binary, and -F with one file and with several.
    """
    photo = tmp_path / "photo.png"
    photo.write_bytes(png(3))
    url = f"{running.url}{CLASSIFY}?top_k=1"
    for arguments in (["--data-binary", f"@{photo}"], ["-F", f"image=@{photo}"]):
        assert '"label":"class 3"' in await curl(running, *arguments, url)
    several = await curl(running, "-F", f"a=@{photo}", "-F", f"b=@{photo}", url)
    assert several.count('"label":"class 3"') == 2


async def test_form(running: Running) -> None:
    """
    A form may have the options as fields; several files get an answer each, by their names.
    """
    body, headers = form(("image", "a.png", png(1)), ("top_k", "", b"1"))
    told = (await ask(running, CLASSIFY, body, headers)).json()
    assert [p["class_index"] for p in told["predictions"]] == [1]
    body, headers = form(
        ("image", "a.png", png(1)),
        ("image", "b.png", b"no image"),
        ("other", 'c".png'.replace('"', "%22"), png(4)),
    )
    answer = await ask(running, f"{CLASSIFY}?top_k=1", body, headers)
    assert answer.status == 200
    first, second, third = answer.json()["results"]
    assert (first["file"], first["predictions"][0]["class_index"]) == ("a.png", 1)
    assert (second["file"], second["reason"]) == ("b.png", "INVALID_IMAGE")
    assert "error" in second
    assert third["predictions"][0]["class_index"] == 4


FORM, _ = form(("image", "a", png(1)))

WRONG: list[tuple[str, bytes, dict[str, str], int, str, str]] = [
    ("", b"not an image", {}, 400, "INVALID_IMAGE", ""),
    ("", b"", {"content-length": "0"}, 400, "INVALID_ARGUMENT", "--data-binary @photo.jpg"),
    ("?top_k=1001", png(1), {}, 400, "INVALID_ARGUMENT", "top_k"),
    ("?top_k=-1", png(1), {}, 400, "INVALID_ARGUMENT", "top_k"),
    ("?top_k=five", png(1), {}, 400, "INVALID_ARGUMENT", "'five'"),
    ("?topk=5", png(1), {}, 400, "INVALID_ARGUMENT", "'topk': expected top_k or timeout_s"),
    ("?top_k=1&top_k=2", png(1), {}, 400, "INVALID_ARGUMENT", "twice"),
    ("?timeout_s=0", png(1), {}, 400, "INVALID_ARGUMENT", "timeout_s"),
    ("?timeout_s=nan", png(1), {}, 400, "INVALID_ARGUMENT", "timeout_s"),
    ("?timeout_s=inf", png(1), {}, 400, "INVALID_ARGUMENT", "timeout_s"),
    ("?timeout_s=soon", png(1), {}, 400, "INVALID_ARGUMENT", "'soon'"),
    ("", *form(), 400, "INVALID_ARGUMENT", "curl -F image=@photo.jpg"),
    ("", *form(("image", "", png(1))), 400, "INVALID_ARGUMENT", "no file"),
    ("", *form(("image", "a", png(1)), ("size", "", b"5")), 400, "INVALID_ARGUMENT", "'size'"),
    ("", b"no form", form()[1], 400, "INVALID_ARGUMENT", "form"),
    ("", b"no form", {"content-type": "multipart/form-data"}, 400, "INVALID_ARGUMENT", "form"),
    *(
        ("", FORM, {"content-type": stated}, 400, "INVALID_ARGUMENT", "utf-8")
        for stated in (
            "multipart/form-data; boundary=limit; charset=punycode",
            'multipart/form-data; boundary=limit; CHARSET="Undefined"',
            "multipart/form-data; charset=idna; boundary=limit",
        )
    ),
    (
        "",
        *form(("image", "a", png(1)), ("top_k", "", b"1" * 2000)),
        400,
        "INVALID_ARGUMENT",
        "form",
    ),
]


@pytest.mark.parametrize(("query", "body", "headers", "status", "reason", "told"), WRONG)
async def test_wrong_request(
    running: Running,
    query: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    reason: str,
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    A wrong request is refused with the reason and the remedy, and the next one is answered. No
    library writes lines of its own.
    """
    answer = await ask(running, CLASSIFY + query, body, headers, method="POST")
    assert told in check_error(answer, status, reason)
    assert [one.name for one in caplog.records if not one.name.startswith("convoy.")] == []
    assert (await ask(running, CLASSIFY, png(1))).status == 200


async def test_curl_that_removes_line_ends(running: Running, tmp_path: Path) -> None:
    """
    `curl -d @photo` damages the image, and the message says what to use.
    """
    photo = tmp_path / "photo.png"
    photo.write_bytes(png(3))  # its signature has line ends
    told = await curl(running, "-d", f"@{photo}", f"{running.url}{CLASSIFY}")
    assert "INVALID_IMAGE" in told
    assert "--data-binary" in told


@pytest.mark.parametrize(
    "body",
    [
        b'{"image": "' + b64encode(png(3)) + b'"}',
        b64encode(png(3)),
        b"data:image/png;base64," + b64encode(png(3)),
        b"photos/photo.png",
        b"https://example.com/photo.png",
    ],
)
@pytest.mark.parametrize("media_type", ["application/json", "application/x-www-form-urlencoded"])
async def test_text_in_place_of_an_image(running: Running, body: bytes, media_type: str) -> None:
    """
    JSON, base64, a path or a URL is told to be the bytes of the file, with an example.
    """
    headers = {"content-type": media_type}
    answer = await ask(running, CLASSIFY, body, headers, method="POST")
    told = check_error(answer, 400, "INVALID_IMAGE")
    assert "not JSON, base64 or paths: send the file as the body (curl --data-binary @" in told


async def test_unknown_models(running: Running) -> None:
    """
    A model or version that does not exist is 404.
    """
    for path in (
        "huge",
        "tiny/versions/2",
        "tiny/versions/x",
        "tiny/versions/01",
        "tiny/versions/99999999999",
    ):
        for what, body in (("/classify", png(1)), ("", b"")):
            answer = await ask(running, f"/v1/models/{path}{what}", body)
            check_error(answer, 404, "MODEL_NOT_FOUND")


async def test_models(running: Running) -> None:
    """
    The models are listed; each describes itself, with its labels.
    """
    (listed,) = (await ask(running, "/v1/models")).json()["models"]
    assert (listed["name"], listed["version"], listed["class_count"]) == ("tiny", 1, 5)
    assert "labels" not in listed
    for path in ("/v1/models/tiny", "/v1/models/tiny/versions/1"):
        told = (await ask(running, path)).json()
        assert told == listed | {"labels": [f"class {index}" for index in range(5)]}


async def test_limits(serve: Serve) -> None:
    """
    The limits on bodies, images in a call, and waiting images hold as over gRPC.
    """
    limits = {"max_message_bytes": 4000, "max_image_bytes": 4000, "max_images_per_call": 2}
    async with serve(**limits, max_queue_size=2, max_batch_size=1) as running:
        answer = await ask(running, CLASSIFY, bytes(5000))
        check_error(answer, 413, "REQUEST_TOO_LARGE")
        body, headers = form(*(("image", f"{number}", png(1)) for number in range(3)))
        check_error(await ask(running, CLASSIFY, body, headers), 400, "INVALID_ARGUMENT")
        with running.device_held():
            waiting = [asyncio.ensure_future(ask(running, CLASSIFY, png(1)))]
            await running.until_running(1)
            waiting += [asyncio.ensure_future(ask(running, CLASSIFY, png(1))) for _ in range(2)]
            await running.until_waiting(2)
            full = await ask(running, CLASSIFY, png(1))
            check_error(full, 429, "QUEUE_FULL")
            assert full.headers["retry-after"]
        assert {answer.status for answer in await asyncio.gather(*waiting)} == {200}


async def test_deadline(serve: Serve) -> None:
    """
    A request that cannot be answered within `timeout_s` fails, and frees its place.
    """
    async with serve(max_batch_size=1) as running:
        with running.device_held():
            first = asyncio.ensure_future(ask(running, CLASSIFY, png(1)))
            await running.until_running(1)
            late = await ask(running, f"{CLASSIFY}?timeout_s=0.2", png(1))
            check_error(late, 504, "REQUEST_EXPIRED")
            await running.until_waiting(0)
        assert (await first).status == 200


async def test_client_that_leaves(running: Running) -> None:
    """
    A client that closes the connection withdraws its request.
    """
    with running.device_held():
        async with Connection(running.url) as connection:
            first = asyncio.ensure_future(connection.ask("POST", CLASSIFY, png(1)))
            await running.until_running(1)
            async with Connection(running.url) as other:
                second = asyncio.ensure_future(other.ask("POST", CLASSIFY, png(2)))
                await running.until_waiting(1)
                second.cancel()
            await running.until_waiting(0)
        first.cancel()


def samples(running: Running) -> dict[tuple[str, ...], float]:
    """Return what counts calls, by name and labels."""
    names = ("convoy_requests_total", "convoy_rejected_total", "convoy_batch_size_sum")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in running.server.metrics.registry.collect()
        for sample in family.samples
        if sample.name in names
    }


async def test_counted_as_over_grpc(running: Running) -> None:
    """
    A request has the same metrics over HTTP and over gRPC, whether it is answered or refused.
    """
    asked: list[tuple[str, bytes, dict[str, Any]]] = [
        ("tiny", png(1), {}),
        ("tiny", b"no image", {}),
        ("tiny", png(tiny.POISON), {}),
        ("huge", png(1), {}),
        ("tiny", png(1), {"top_k": 1001}),
    ]
    for model, image, options in asked:
        query = "?" + "&".join(f"{name}={value}" for name, value in options.items())
        await ask(running, f"/v1/models/{model}/classify{query if options else ''}", image)
    over_http = samples(running)
    await asyncio.gather(
        *(
            running.classifier.Classify(pb.ClassifyRequest(model=model, image=image, **options))
            for model, image, options in asked
        ),
        return_exceptions=True,
    )
    assert samples(running) == {name: 2 * value for name, value in over_http.items()}
