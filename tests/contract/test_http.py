"""The REST form of the protocol: its routes, its errors, and HTTP itself."""

import asyncio
import gzip
import json
import logging
import re
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.http.messages import as_json
from convoy.service.protocol.methods import InferenceProtocol
from tests.harness import tiny
from tests.harness.calls import INFER, check_error, classes, infer_body
from tests.harness.http import Answer, Connection, ask, request
from tests.harness.server import Running, Serve

VERSIONED = ["/v2/models/tiny", "/v2/models/tiny/versions/1"]


@pytest.fixture
def kept_level() -> Iterator[None]:
    """Put back the level of the log after a test that changes it."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


async def test_health(running: Running) -> None:
    """
    Life and readiness are in the status, for Triton's clients, and in JSON, for KServe's; they
    and the metrics are no calls.
    """
    for what in ("live", "ready"):
        answer = await ask("GET", f"{running.url}/v2/health/{what}")
        assert (answer.status, answer.json()) == (200, {what: True})
    assert (await ask("GET", f"{running.url}/metrics")).status == 200
    # They are asked for all the time.
    assert counts(running) == {}


async def test_server(running: Running) -> None:
    """
    The server describes itself as over gRPC, and lists its models.
    """
    expected = await running.inference.ServerMetadata(pb.ServerMetadataRequest())
    answer = await ask("GET", f"{running.url}/v2")
    assert answer.json() == as_json(expected)
    assert "binary_tensor_data" in answer.json()["extensions"]
    assert (await ask("GET", f"{running.url}/v2/models")).json() == {"models": ["tiny"]}


async def test_model(running: Running) -> None:
    """
    Metadata, configuration and statistics of a model are the same as over gRPC.
    """
    rpcs = running.inference
    metadata = await rpcs.ModelMetadata(pb.ModelMetadataRequest(name="tiny"))
    config = await rpcs.ModelConfig(pb.ModelConfigRequest(name="tiny"))
    for number, path in enumerate(VERSIONED, 1):
        url = f"{running.url}{path}"
        assert (await ask("GET", url)).json() == as_json(metadata)
        assert (await ask("GET", f"{url}/config")).json() == as_json(config.config)
        assert (await ask("GET", f"{url}/ready")).json() == {"name": "tiny", "ready": True}
        assert classes(await ask("POST", f"{url}/infer", infer_body(1, 2, 3))) == [1, 2, 3]
        statistics = await rpcs.ModelStatistics(pb.ModelStatisticsRequest(name="tiny"))
        told = (await ask("GET", f"{url}/stats")).json()
        assert told == as_json(statistics)
        assert told["model_stats"][0]["inference_count"] == 3 * number
        assert (await ask("GET", f"{running.url}/v2/models/stats")).json() == told


async def test_no_such_model(running: Running) -> None:
    """
    Each request for a model or version that does not exist is 404; asked for, it is not ready.
    """
    for path in ("/v2/models/huge", "/v2/models/tiny/versions/2", "/v2/models/huge/versions/1"):
        for what in ("", "/config", "/stats"):
            answer = await ask("GET", f"{running.url}{path}{what}")
            check_error(answer, 404, "MODEL_NOT_FOUND")
        check_error(await ask("GET", f"{running.url}{path}/ready"), 503, "MODEL_NOT_READY")
        answer = await ask("POST", f"{running.url}{path}/infer", infer_body(0))
        check_error(answer, 404, "MODEL_NOT_FOUND")


async def test_unusual_names(running: Running) -> None:
    """
    A name may be anything: it names no model, and is repeated safely and shortly.
    """
    for name in ("%00", "%ff", "%0a", "..", "tiny%20", "TINY", "t" * 5000):
        for path in (f"/v2/models/{name}", f"/v2/models/tiny/versions/{name}"):
            message = check_error(await ask("GET", running.url + path), 404, "MODEL_NOT_FOUND")
            assert message.isprintable()
            assert len(message) < 120


async def test_loading(serve: Serve) -> None:
    """
    A server that loads lives and is not ready, nor is its model, and it infers nothing.
    """
    async with serve(load=False) as running:
        assert (await ask("GET", f"{running.url}/v2/health/live")).status == 200
        ready = await ask("GET", f"{running.url}/v2/health/ready")
        assert "loading" in check_error(ready, 503, "MODEL_NOT_READY")
        for path in VERSIONED:
            ready = await ask("GET", f"{running.url}{path}/ready")
            check_error(ready, 503, "MODEL_NOT_READY")
            answer = await ask("POST", f"{running.url}{path}/infer", infer_body(0))
            check_error(answer, 503, "MODEL_NOT_READY")


async def test_model_control(serve: Serve) -> None:
    """
    The index tells each version's state; models are unloaded and loaded, with a configuration.
    """
    entry = {"name": "tiny", "version": "1", "state": "READY", "reason": ""}
    gone = entry | {"state": "UNAVAILABLE", "reason": "unloaded"}
    smaller = {"parameters": {"config": json.dumps({"max_batch_size": 2})}}
    async with serve(model_control_mode="explicit", load_model=["tiny"]) as running:
        url = f"{running.url}/v2/repository"
        for body in (b"", b" \n", b"{}", b'\xef\xbb\xbf{"ready": true}', b'{"ready": false}'):
            assert (await ask("POST", f"{url}/index", body)).json() == [entry]
        # Triton too ignores a name here.
        assert (await ask("POST", f"{url}/mine/index")).json() == [entry]
        answer = await ask("POST", f"{url}/models/tiny/unload")
        assert (answer.status, answer.json()) == (200, {"name": "tiny", "unload": True})
        assert (await ask("POST", f"{url}/index")).json() == [gone]
        assert (await ask("POST", f"{url}/index", b'{"ready": true}')).json() == []
        ready = await ask("GET", f"{running.url}/v2/models/tiny/ready")
        check_error(ready, 503, "MODEL_NOT_READY")
        answer = await ask("POST", f"{url}/models/tiny/load", json.dumps(smaller).encode())
        assert (answer.status, answer.json()) == (200, {"name": "tiny", "load": True})
        config = (await ask("GET", f"{running.url}/v2/models/tiny/config")).json()
        assert config["max_batch_size"] == 2
        for action in ("load", "unload"):
            answer = await ask("POST", f"{url}/models/huge/{action}")
            check_error(answer, 404, "MODEL_NOT_FOUND")


async def test_model_control_is_off(running: Running) -> None:
    """
    Without mode `explicit` models are not loaded by request.
    """
    for action in ("load", "unload"):
        answer = await ask("POST", f"{running.url}/v2/repository/models/tiny/{action}")
        check_error(answer, 400, "MODEL_CONTROL_OFF")


WRONG_LOADS = [
    (b"[]", 400, "INVALID_ARGUMENT"),
    (b"5", 400, "INVALID_ARGUMENT"),
    (b"{", 400, "INVALID_ARGUMENT"),
    (b"[" * 100_000, 400, "INVALID_ARGUMENT"),
    (b'{"a": "\\ud800"}', 400, "INVALID_ARGUMENT"),
    (b'{"parameters": []}', 400, "INVALID_ARGUMENT"),
    (b'{"parameters": {"a": null}}', 400, "INVALID_ARGUMENT"),
    (b'{"parameters": {"a": 1.5}}', 400, "INVALID_ARGUMENT"),
    (b'{"parameters": {"a": []}}', 400, "INVALID_ARGUMENT"),
    (b'{"parameters": {"a": 9223372036854775808}}', 400, "INVALID_ARGUMENT"),
    (b'{"parameters": {"a": %s}}' % (b"9" * 4000), 400, "INVALID_ARGUMENT"),
    (b'{"parameters": {"a": %s}}' % (b"9" * 5000), 400, "INVALID_ARGUMENT"),
    (b'{"parameters": {"a": "b"}}', 400, "INVALID_ARGUMENT"),
    (b'{"parameters": {"config": "{"}}', 400, "INVALID_ARGUMENT"),
    (b'{"parameters": {"config": 5}}', 400, "INVALID_ARGUMENT"),
    (b'{"config": {"max_batch_size": 2}}', 400, "INVALID_ARGUMENT"),
    (b'{"parameters": {}, "foo": 1}', 400, "INVALID_ARGUMENT"),
    (b'{"parameters": {"file:1/model.onnx": "abc"}}', 400, "INVALID_ARGUMENT"),
    (b'{"parameters": {"file:1/model.onnx": "\xc3\xa9"}}', 400, "INVALID_ARGUMENT"),
    (b'{"parameters": {"file:1/model.onnx": "AAAA"}}', 501, "UNSUPPORTED"),
]


async def test_wrong_parameters_of_a_load(serve: Serve) -> None:
    """
    A request to load that is wrong is refused and changes nothing.
    """
    async with serve(model_control_mode="explicit", load_model=["tiny"]) as running:
        for body, status, reason in WRONG_LOADS:
            answer = await ask("POST", f"{running.url}/v2/repository/models/tiny/load", body)
            check_error(answer, status, reason)
        for body in (b'{"foo": 1}', b'{"parameters": {"config": "{}"}}'):
            answer = await ask("POST", f"{running.url}/v2/repository/models/tiny/unload", body)
            check_error(answer, 400, "INVALID_ARGUMENT")
        for body in (b'{"foo": 1}', b'{"ready": "yes"}'):
            answer = await ask("POST", f"{running.url}/v2/repository/index", body)
            check_error(answer, 400, "INVALID_ARGUMENT")
        assert classes(await ask("POST", running.url + INFER, infer_body(3))) == [3]


async def test_the_example_in_the_message_works(serve: Serve) -> None:
    """
    The message about a configuration in the wrong place shows a form that loads the model.
    """
    async with serve(model_control_mode="explicit", load_model=["tiny"]) as running:
        url = f"{running.url}/v2/repository/models/tiny/load"
        wrong = await ask("POST", url, b'{"parameters": {"config": 5}}')
        message = check_error(wrong, 400, "INVALID_ARGUMENT")
        example = message[message.index("{") :]
        assert (await ask("POST", url, example.encode())).status == 200
        config = (await ask("GET", f"{running.url}/v2/models/tiny/config")).json()
        assert config["version_policy"]["specific"]["versions"] == [1]


async def test_log_settings(running: Running, kept_level: None) -> None:
    """
    The settings of the log are read and changed.
    """
    logging.getLogger().setLevel(logging.WARNING)
    url = f"{running.url}/v2/logging"
    quiet = {"log_verbose_level": 0, "log_info": False, "log_warning": True, "log_error": True}
    assert (await ask("GET", url)).json() == quiet
    told = (await ask("POST", url, b'{"log_info": true}')).json()
    assert told == quiet | {"log_info": True}
    assert logging.getLogger().level == logging.INFO
    assert (await ask("GET", url)).json() == told
    for wrong in (
        b'{"log_info": 1}',
        b'{"log_info": "yes"}',
        b'{"log_info": null}',
        b'{"log_info": 0.5}',
        b'{"log_verbose_level": -1}',
        b'{"log_verbose_level": 4294967296}',
        b'{"log_verbose_level": %s}' % (b"9" * 4000),
        b'{"log_verbose_level": true}',
        b'{"log_file": "/tmp/x"}',
        b"[]",
    ):
        check_error(await ask("POST", url, wrong), 400, "INVALID_ARGUMENT")
    assert (await ask("GET", url)).json() == told


UNSUPPORTED = [
    "/v2/systemsharedmemory/status",
    "/v2/systemsharedmemory/region/mine/status",
    "/v2/systemsharedmemory/region/mine/register",
    "/v2/systemsharedmemory/unregister",
    "/v2/cudasharedmemory/status",
    "/v2/cudasharedmemory/region/mine/register",
    "/v2/cudasharedmemory/region/mine/unregister",
    "/v2/trace/setting",
    *(f"{path}/{what}" for path in VERSIONED for what in ("trace/setting", "generate")),
    *(f"{path}/generate_stream" for path in VERSIONED),
    *(f"/v2/repository/mine/models/tiny/{action}" for action in ("load", "unload")),
]


async def test_unsupported(running: Running) -> None:
    """
    A part of Triton that this server does not have is refused as such, by any method.
    """
    for path in UNSUPPORTED:
        for method in ("GET", "POST"):
            check_error(await ask(method, running.url + path), 501, "UNSUPPORTED")


NO_ROUTES = [
    ("GET", "/v1/nothing", 404),
    ("GET", "/web/nothing.js", 404),
    ("GET", "/web/..%2fsettings.py", 404),
    ("POST", "/page/models", 405),
    ("GET", "/page/answers", 405),
    ("GET", "/v2/nothing", 404),
    ("GET", "/v2/models/tiny/nothing", 404),
    ("GET", "/v2/models/tiny/versions", 404),
    ("GET", "/v2/models/ti/ny", 404),
    ("GET", "/v2/models/..%2f..%2fetc%2fpasswd", 404),
    ("POST", "/v2/models/tiny/versions/1/nothing", 404),
    ("GET", "/x" * 2000, 404),
    ("GET", INFER, 405),
    ("PUT", INFER, 405),
    ("OPTIONS", INFER, 405),
    ("POST", "/v2", 405),
    ("POST", "/v2/health/live", 405),
    ("POST", "/v2/models/tiny", 405),
    ("POST", "/v2/models/tiny/config", 405),
    ("DELETE", "/v2/models/tiny", 405),
    ("GET", "/v2/repository/index", 405),
    ("GET", "/v2/repository/models/tiny/load", 405),
    ("POST", "/metrics", 405),
    ("BREW", "/v2", 405),
    ("GET", "/metrics/", 404),
    ("GET", "/v2/", 404),
    ("GET", "/v2/health/live/", 404),
    ("GET", "/v2/models/tiny/", 404),
    ("POST", f"{INFER}/", 404),
    ("GET", "/page/models/", 404),
    ("GET", "/web", 404),
    ("GET", "/web/", 404),
    ("GET", "/web/samples", 404),
    ("GET", "//evil.example/v2", 404),
]


async def test_no_such_route(running: Running) -> None:
    """
    An unknown path or method gives a short error in JSON, and never a redirect; 405 names the right
    methods.
    """
    for method, path, status in NO_ROUTES:
        answer = await ask(method, running.url + path)
        assert "location" not in answer.headers
        assert answer.status == status, (method, path)
        assert len(answer.json()["error"]) < 200
        assert ("allow" in answer.headers) is (status == 405)


OUTCOMES = [
    ("GET", "/v2", b"", 200),
    ("GET", "/v2/models/tiny", b"", 200),
    ("GET", "/v2/models/huge", b"", 404),
    ("POST", INFER, infer_body(0), 200),
    ("POST", INFER, b"{", 400),
    ("POST", "/v2/repository/models/tiny/load", b"", 400),
    ("GET", "/v2/trace/setting", b"", 501),
]


async def test_request_identifier(running: Running) -> None:
    """
    A request's identifier comes back with any outcome; a bad one is replaced.
    """
    for method, path, body, status in OUTCOMES:
        for given, returned in (
            ("r-1", "r-1"),
            ("x" * 128, "x" * 128),
            (None, "[0-9a-f]{32}"),
            ("x" * 129, "[0-9a-f]{32}"),
            ("two words", "[0-9a-f]{32}"),
            ("é", "[0-9a-f]{32}"),
            ("", "[0-9a-f]{32}"),
        ):
            headers = {} if given is None else {"X-Request-Id": given}
            answer = await ask(method, running.url + path, body, headers)
            assert answer.status == status
            assert re.fullmatch(returned, answer.headers["x-request-id"])


async def test_unforeseen_error_is_not_exposed(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    An unforeseen error is logged with its traceback; the client learns nothing internal.
    """

    async def fail(*arguments: Any) -> Any:
        raise RuntimeError("secret path")

    monkeypatch.setattr(InferenceProtocol, "ModelInfer", fail)
    answer = await ask("POST", running.url + INFER, infer_body(0), {"x-request-id": "r-1"})
    assert check_error(answer, 500, "INTERNAL") == "internal error"
    assert answer.headers["x-request-id"] == "r-1"
    assert "secret path" in caplog.text


async def test_failed_inference(running: Running) -> None:
    """
    A request that the model fails on gets that as its reason.
    """
    answer = await ask("POST", running.url + INFER, infer_body(tiny.POISON))
    assert check_error(answer, 500, "INFERENCE_FAILED") == "the model failed on this input"


async def test_counted_as_over_grpc(running: Running) -> None:
    """
    The same calls leave the same counts over either transport.
    """
    rpcs = running.inference

    def infer(model: str = "tiny", version: str = "", **changes: Any) -> pb.ModelInferRequest:
        made = pb.ModelInferRequest(model_name=model, model_version=version)
        made.inputs.add(name="image", datatype="UINT8", shape=changes.get("shape", [1, 4, 4, 1]))
        made.raw_input_contents.append(tiny.pixels(changes.get("first", 0)).tobytes())
        return made

    bad_shape = json.dumps(
        {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [16], "data": [0] * 16}]}
    )
    calls: list[tuple[str, str, bytes, Any, Any]] = [
        ("GET", "/v2", b"", rpcs.ServerMetadata, pb.ServerMetadataRequest()),
        ("GET", VERSIONED[0], b"", rpcs.ModelMetadata, pb.ModelMetadataRequest(name="tiny")),
        ("GET", "/v2/models/a", b"", rpcs.ModelMetadata, pb.ModelMetadataRequest(name="a")),
        ("GET", "/v2/models/tiny/ready", b"", rpcs.ModelReady, pb.ModelReadyRequest(name="tiny")),
        ("GET", "/v2/models/a/ready", b"", rpcs.ModelReady, pb.ModelReadyRequest(name="a")),
        (
            "GET",
            "/v2/models/tiny/config",
            b"",
            rpcs.ModelConfig,
            pb.ModelConfigRequest(name="tiny"),
        ),
        ("GET", "/v2/models/stats", b"", rpcs.ModelStatistics, pb.ModelStatisticsRequest()),
        ("GET", "/v2/logging", b"", rpcs.LogSettings, pb.LogSettingsRequest()),
        ("POST", "/v2/repository/index", b"", rpcs.RepositoryIndex, pb.RepositoryIndexRequest()),
        (
            "POST",
            "/v2/repository/models/tiny/load",
            b"",
            rpcs.RepositoryModelLoad,
            pb.RepositoryModelLoadRequest(model_name="tiny"),
        ),
        (
            "POST",
            "/v2/repository/models/tiny/unload",
            b"",
            rpcs.RepositoryModelUnload,
            pb.RepositoryModelUnloadRequest(model_name="tiny"),
        ),
        ("POST", INFER, infer_body(0), rpcs.ModelInfer, infer()),
        ("POST", "/v2/models/a/infer", infer_body(0), rpcs.ModelInfer, infer("a")),
        (
            "POST",
            "/v2/models/tiny/versions/7/infer",
            infer_body(0),
            rpcs.ModelInfer,
            infer(version="7"),
        ),
        ("POST", INFER, bad_shape.encode(), rpcs.ModelInfer, infer(shape=[16])),
        (
            "POST",
            INFER,
            infer_body(tiny.POISON),
            rpcs.ModelInfer,
            infer(first=tiny.POISON),
        ),
    ]
    for method, path, body, _, _ in calls:
        await ask(method, running.url + path, body)
    over_http = counts(running)
    assert sum(over_http["convoy_requests_total"].values()) == len(calls)
    await asyncio.gather(*(rpc(message) for _, _, _, rpc, message in calls), return_exceptions=True)
    assert counts(running) == {
        name: {labels: 2 * value for labels, value in samples.items()}
        for name, samples in over_http.items()
    }


def counts(running: Running) -> dict[str, dict[tuple[str, ...], float]]:
    """The samples that count calls, by name and labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in running.server.metrics.registry.collect():
        for sample in family.samples:
            if sample.name in (
                "convoy_requests_total",
                "convoy_rejected_total",
                "convoy_request_duration_seconds_count",
            ):
                found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


async def test_a_body_that_is_no_request_is_counted(running: Running) -> None:
    """
    A call that ends before its model is known is counted without one.
    """
    await ask("POST", running.url + INFER, b"{")
    labels = {"model": "", "method": "ModelInfer", "code": "INVALID_ARGUMENT"}
    assert running.sample("convoy_requests_total", **labels) == 1
    assert running.sample("convoy_rejected_total", model="", reason="INVALID_ARGUMENT") == 1


async def test_keep_alive(running: Running) -> None:
    """
    Many requests use one connection, whatever their outcomes, until the client wants it closed.
    """
    async with Connection(running.url) as connection:
        for number in range(30):
            assert classes(await connection.ask("POST", INFER, infer_body(number))) == [number % 5]
            assert (await connection.ask("POST", INFER, b"{")).status == 400
            assert (await connection.ask("GET", "/nothing")).status == 404
            assert (await connection.ask("GET", "/v2/health/live")).status == 200
            await connection.send(request("HEAD", "/v2/health/live"))
            assert (await connection.receive_head())[0] == 200
        answer = await connection.ask("GET", "/v2/health/live", headers={"Connection": "close"})
        assert answer.status == 200
        assert await connection.rest() == b""


async def test_pipelined(running: Running) -> None:
    """
    Requests that are sent before the answers of others are answered in their order.
    """
    async with Connection(running.url) as connection:
        sent = [request("POST", INFER, infer_body(number)) for number in range(20)]
        sent[10] = request("GET", "/nothing")
        await connection.send(b"".join(sent))
        answers = [await connection.receive() for _ in sent]
        assert answers.pop(10).status == 404
        assert [classes(answer) for answer in answers] == [
            [number % 5] for number in range(20) if number != 10
        ]


async def test_no_answer_waits_for_an_acknowledgement(running: Running) -> None:
    """
    Answers are sent at once: delayed by Nagle's algorithm, each would take 40 ms.
    """
    loop = asyncio.get_running_loop()
    fields = {"parameters": {"binary_data_output": True}}
    async with Connection(running.url) as connection:
        started = loop.time()
        for number in range(50):
            answer = await connection.ask("POST", INFER, infer_body(number, **fields))
            assert answer.status == 200
        assert loop.time() - started < 1.5


NOT_HTTP = [
    b"\r\n\r\n\x00\x01\x02\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: " + b"9" * 400 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"x" * 20_000,
]


async def test_not_http(running: Running) -> None:
    """
    Bytes that are not HTTP get 400 and a closed connection; others are served as before.
    """
    for sent in NOT_HTTP:
        async with Connection(running.url) as connection:
            await connection.send(sent)
            assert (await connection.rest()).startswith(b"HTTP/1.1 400 ")
    assert classes(await ask("POST", running.url + INFER, infer_body(3))) == [3]


async def test_chunked(running: Running) -> None:
    """
    A body may come in chunks, without its length.
    """
    body = infer_body(3)
    chunks = [body[start : start + 20] for start in range(0, len(body), 20)]
    async with Connection(running.url) as connection:
        assert classes(await send_chunks(connection, *chunks)) == [3]
        assert classes(await connection.ask("POST", INFER, infer_body(4))) == [4]


async def test_expect_continue(running: Running) -> None:
    """
    A client that sends `Expect: 100-continue` gets it, unless its body would be too large.
    """
    body = infer_body(3)
    headers = {"Expect": "100-continue", "Content-Length": str(len(body))}
    async with Connection(running.url) as connection:
        await connection.send(request("POST", INFER, headers=headers))
        assert (await connection.receive_head())[0] == 100
        await connection.send(body)
        assert classes(await connection.receive()) == [3]
        headers["Content-Length"] = str(2**40)
        await connection.send(request("POST", INFER, headers=headers))
        assert (await connection.receive_head())[0] == 413


async def send_chunks(connection: Connection, *chunks: bytes) -> Answer:
    """Infer with a body in chunks."""
    await connection.send(request("POST", INFER, headers={"Transfer-Encoding": "chunked"}))
    for chunk in (*chunks, b""):
        await connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    return await connection.receive()


LIMITS = {"max_message_bytes": 20_000, "max_image_bytes": 10_000, "max_json_bytes": 5_000}


async def test_size_limits(serve: Serve) -> None:
    """
    A body over the limit is refused by its stated length, or when too much has come.
    """
    async with serve(**LIMITS) as running, Connection(running.url) as connection:
        answer = await connection.ask("POST", INFER, bytes(20_001))
        assert "limit of 20000 bytes" in check_error(answer, 413, "REQUEST_TOO_LARGE")
        answer = await connection.ask("POST", INFER, bytes(1_000_000))
        check_error(answer, 413, "REQUEST_TOO_LARGE")
        answer = await send_chunks(connection, *[bytes(7_000)] * 3)
        check_error(answer, 413, "REQUEST_TOO_LARGE")
        answer = await send_chunks(connection, *[bytes(7_000)] * 100)
        check_error(answer, 413, "REQUEST_TOO_LARGE")
        assert classes(await connection.ask("POST", INFER, infer_body(3))) == [3]
        reasons = {"model": "", "reason": "REQUEST_TOO_LARGE"}
        assert running.sample("convoy_rejected_total", **reasons) == 4


async def test_json_limit(serve: Serve) -> None:
    """
    JSON has a limit of its own, on every route; tensors behind it do not count.
    """
    async with serve(**LIMITS) as running:
        padded = infer_body(3).ljust(5_001)
        answer = await ask("POST", running.url + INFER, padded)
        assert "send large tensors as binary data" in check_error(answer, 413, "REQUEST_TOO_LARGE")
        answer = await ask("POST", running.url + INFER, infer_body(3).ljust(5_000))
        assert classes(answer) == [3]
        answer = await ask("POST", f"{running.url}/v2/repository/index", b"{}".ljust(5_001))
        check_error(answer, 413, "REQUEST_TOO_LARGE")
        answer = await ask("POST", f"{running.url}/v2/repository/index", b"{}".ljust(5_000))
        assert answer.status == 200


async def test_compressed_bodies(serve: Serve) -> None:
    """
    A body may be compressed; the limits count what it becomes.
    """
    async with serve(**LIMITS) as running, Connection(running.url) as connection:

        async def infer(body: bytes, encoding: str) -> Answer:
            headers = {"Content-Encoding": encoding}
            return await connection.ask("POST", INFER, body, headers)

        for encoding, pack in (("gzip", gzip.compress), ("deflate", zlib.compress)):
            assert classes(await infer(pack(infer_body(3, 6)), encoding)) == [3, 1]
            for size in (5_001, 20_001, 10_000_000):
                answer = await infer(pack(infer_body(3).ljust(size)), encoding)
                check_error(answer, 413, "REQUEST_TOO_LARGE")
            for body, message in (
                (pack(infer_body(3))[:-3], "is truncated"),
                (pack(infer_body(3)) + b"{}", "extra bytes follow the compressed body"),
                (infer_body(3), "cannot be decompressed"),
                (b"", "is truncated"),
            ):
                told = check_error(await infer(body, encoding), 400, "INVALID_ARGUMENT")
                assert message in told
        told = check_error(await infer(infer_body(3), "br"), 400, "INVALID_ARGUMENT")
        assert "'br' is not supported: use gzip or deflate" in told
        assert classes(await infer(infer_body(3), "identity")) == [3]


async def test_compressed_length_of_the_json(running: Running) -> None:
    """
    In a compressed body the length of the JSON is that of the decompressed one.
    """
    data = tiny.pixels(3).tobytes()
    image = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [1, 4, 4, 1],
        "parameters": {"binary_data_size": len(data)},
    }
    text = json.dumps({"inputs": [image]}).encode()
    headers = {"Content-Encoding": "gzip", "Inference-Header-Content-Length": str(len(text))}
    answer = await ask("POST", running.url + INFER, gzip.compress(text + data), headers)
    assert classes(answer) == [3]


async def test_compressed_answers(running: Running) -> None:
    """
    Large answers to inference are compressed for clients that say they can read it, and only those.
    """
    body = infer_body(*range(8), parameters={"binary_data_output": True}, id="i" * 2000)
    plain = await ask("POST", running.url + INFER, body)
    assert "content-encoding" not in plain.headers
    for accepted in ("gzip", "gzip, deflate", "deflate, gzip;q=0.5", "gzip;q=1.0"):
        answer = await ask("POST", running.url + INFER, body, {"Accept-Encoding": accepted})
        assert answer.headers["content-encoding"] == "gzip"
        assert len(answer.body) < len(plain.body)
        assert gzip.decompress(answer.body) == plain.body
        # It says where the JSON ends in the decompressed body.
        name = "inference-header-content-length"
        assert answer.headers[name] == plain.headers[name]
    for accepted in ("", "identity", "deflate", "br", "gzip;q=0", "gzip; q=0.000, deflate;q=0"):
        answer = await ask("POST", running.url + INFER, body, {"Accept-Encoding": accepted})
        assert "content-encoding" not in answer.headers
        assert answer.body == plain.body


async def test_what_is_never_compressed(running: Running) -> None:
    """
    Triton's asyncio client accepts compressed answers, and can read those to inference only.
    """
    headers = {"Accept-Encoding": "gzip, deflate"}
    answer = await ask("GET", f"{running.url}/v2/models/tiny/config", headers=headers)
    assert len(answer.body) > 1024
    assert answer.json()["name"] == "tiny"
    small = await ask("POST", running.url + INFER, infer_body(0), headers)
    assert classes(small) == [0]
    metrics = await ask("GET", f"{running.url}/metrics", headers=headers)
    assert b"convoy_requests_total" in gzip.decompress(metrics.body)


async def test_idle_connections_do_not_hold_the_end(serve: Serve) -> None:
    """
    A server that stops closes kept connections, and does not wait for them.
    """
    loop = asyncio.get_running_loop()
    async with serve() as running:
        connection = await Connection(running.url).__aenter__()
        assert (await connection.ask("GET", "/v2/health/live")).status == 200
        started = loop.time()
    assert await connection.rest() == b""
    assert loop.time() - started < 1.0
    connection.hang_up()
