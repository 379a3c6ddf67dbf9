"""With a file of tokens only those who have one get in, and only as far as its rights go."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from convoy.client import AsyncClient
from convoy.pb.convoy.v1 import classifier_pb2
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.results import ConvoyError
from convoy.service.security.tokens import RIGHTS, Right, Token
from tests.harness.calls import INFER, infer_body, infer_request, outcome
from tests.harness.http import ask
from tests.harness.images import png
from tests.harness.server import Running, Serve

pytestmark = pytest.mark.both_transports

CALLS: dict[str, tuple[Any, set[Right]]] = {
    "ServerLive": (pb.ServerLiveRequest(), set()),
    "ServerReady": (pb.ServerReadyRequest(), set()),
    "ModelReady": (pb.ModelReadyRequest(name="tiny"), set()),
    "ServerMetadata": (pb.ServerMetadataRequest(), {"infer", "observe", "control"}),
    "ModelMetadata": (pb.ModelMetadataRequest(name="tiny"), {"infer", "observe", "control"}),
    "ModelConfig": (pb.ModelConfigRequest(name="tiny"), {"infer", "observe", "control"}),
    "ModelInfer": (infer_request(3), {"infer"}),
    "ModelStatistics": (pb.ModelStatisticsRequest(), {"observe"}),
    "RepositoryIndex": (pb.RepositoryIndexRequest(), {"observe"}),
    "RepositoryModelLoad": (pb.RepositoryModelLoadRequest(model_name="tiny"), {"control"}),
    "RepositoryModelUnload": (pb.RepositoryModelUnloadRequest(model_name="none"), {"control"}),
    "LogSettings": (pb.LogSettingsRequest(), {"control"}),
}
"""A request of each method, and the rights that one of is needed; none for open methods."""

OCCLUSION = "/page/models/tiny/versions/1/occlusion"

ROUTES: list[tuple[str, str, set[Right]]] = [
    ("GET", "/v2/health/live", set()),
    ("GET", "/v2/health/ready", set()),
    ("GET", "/v2/models/tiny/ready", set()),
    ("GET", "/v2", {"infer", "observe", "control"}),
    ("GET", "/v2/models/tiny", {"infer", "observe", "control"}),
    ("POST", INFER, {"infer"}),
    ("GET", "/v2/models/stats", {"observe"}),
    ("POST", "/v2/repository/index", {"observe"}),
    ("GET", "/metrics", {"observe"}),
    ("GET", "/", set()),
    ("GET", "/web/app.js", set()),
    ("GET", "/page/models", {"infer", "observe", "control"}),
    ("POST", "/page/answers?model=tiny/1", {"infer"}),
    ("POST", OCCLUSION, {"infer"}),
    ("GET", "/page/history", {"observe"}),
    ("GET", "/page/comparison", {"observe"}),
    ("POST", "/v2/repository/models/tiny/load", {"control"}),
    ("POST", "/v2/logging", {"control"}),
]

BODIES = {
    INFER: infer_body(3),
    "/page/answers?model=tiny/1": png(3),
    OCCLUSION: png(3),
}

UNAUTHENTICATED = (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
DENIED = (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


class Holders:
    """A file with a token for each right, and the tokens."""

    def __init__(self, folder: Path) -> None:
        made = {right: Token.make(right, [right]) for right in sorted(RIGHTS)}
        self.file = folder / "tokens"
        self.texts = {right: text for right, (_, text) in made.items()}
        self.lines = {right: token.line for right, (token, _) in made.items()}
        self.write(*self.lines)

    def write(self, *rights: Right) -> None:
        """Let the file have these only."""
        self.file.write_text("\n".join(self.lines[right] for right in rights))

    def header(self, right: Right | None) -> dict[str, str]:
        """The header of the one with a right; None has no token."""
        return {"authorization": f"Bearer {self.texts[right]}"} if right else {}


@pytest.fixture
def holders(tmp_path_factory: pytest.TempPathFactory) -> Holders:
    return Holders(tmp_path_factory.mktemp("tokens"))


@pytest.fixture
async def guarded(serve: Serve, holders: Holders) -> AsyncIterator[Running]:
    """A server that knows three tokens."""
    settings = {"token_file": str(holders.file), "model_control_mode": "explicit"}
    async with serve(**settings, load_model=["*"]) as running:
        yield running


@pytest.mark.parametrize("method", CALLS)
async def test_rpcs(guarded: Running, holders: Holders, method: str) -> None:
    """
    Without a token: UNAUTHENTICATED. With one that has not the right: PERMISSION_DENIED.
    """
    message, needed = CALLS[method]
    rpc = getattr(guarded.inference, method)
    unknown = {"authorization": "Bearer unknown"}
    for header in ({}, unknown):
        assert await outcome(rpc(message, metadata=tuple(header.items()))) == (
            UNAUTHENTICATED if needed else None
        )
    for right in sorted(RIGHTS):
        expected = None if not needed or right in needed else DENIED
        if method == "RepositoryModelUnload" and expected is None:
            expected = (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")  # nothing but the model lacks
        header = holders.header(right)
        assert await outcome(rpc(message, metadata=tuple(header.items()))) == expected, right


async def test_call_without_a_right_counts_for_no_model(guarded: Running, holders: Holders) -> None:
    """
    A client without a right moves the figures of no model, on the fast path as elsewhere.
    """
    for _ in range(2):  # the second request has a template
        await guarded.inference.ModelInfer(
            infer_request(3), metadata=tuple(holders.header("infer").items())
        )
    assert await outcome(guarded.inference.ModelInfer(infer_request(3))) == UNAUTHENTICATED
    labels = {"method": "ModelInfer", "code": "UNAUTHENTICATED"}
    assert guarded.sample("convoy_requests_total", model="", **labels) == 1
    assert guarded.sample("convoy_requests_total", model="tiny", **labels) is None


@pytest.mark.parametrize(("verb", "path", "needed"), ROUTES)
async def test_routes(
    guarded: Running, holders: Holders, verb: str, path: str, needed: set[Right]
) -> None:
    """
    HTTP says 401, and how to do better, or 403.
    """
    body = BODIES.get(path, b"")
    answer = await ask(verb, guarded.url + path, body)
    assert answer.status == (401 if needed else 200)
    if needed:
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["reason"] == "UNAUTHENTICATED"
    for right in sorted(RIGHTS):
        answer = await ask(verb, guarded.url + path, body, holders.header(right))
        assert answer.status == (200 if not needed or right in needed else 403), right


async def test_layers(guarded: Running, holders: Holders) -> None:
    """
    A client without the right learns nothing of layers, not even that there are none.
    """
    url = f"{guarded.url}/page/models/tiny/versions/1/layers"
    cases: list[tuple[Right | None, int]] = [("observe", 501), ("infer", 403), (None, 401)]
    for right, status in cases:
        assert (await ask("GET", url, headers=holders.header(right))).status == status


async def test_class_maps(guarded: Running, holders: Holders) -> None:
    """
    Class activation maps need the right of an inference; a network without them says so after that.
    """
    url = f"{guarded.url}/page/models/tiny/versions/1/class-maps"
    cases: list[tuple[Right | None, int]] = [("infer", 501), ("observe", 403), (None, 401)]
    for right, status in cases:
        assert (await ask("POST", url, png(3), holders.header(right))).status == status


async def test_repeated_requests(guarded: Running, holders: Holders) -> None:
    """
    A request that is like an answered one is no way around: each brings its token, or is refused.
    """
    allowed = tuple(holders.header("infer").items())
    too_little = tuple(holders.header("observe").items())
    for _ in range(3):
        await guarded.inference.ModelInfer(infer_request(3), metadata=allowed)
        assert await outcome(guarded.inference.ModelInfer(infer_request(3))) == UNAUTHENTICATED
        weaker = guarded.inference.ModelInfer(infer_request(3), metadata=too_little)
        assert await outcome(weaker) == DENIED
    assert guarded.server.lifecycle.in_flight == 0
    assert guarded.sample("convoy_rejected_total", model="", reason="UNAUTHENTICATED") or (
        guarded.sample("convoy_rejected_total", model="tiny", reason="UNAUTHENTICATED")
    )


async def test_streams(guarded: Running, holders: Holders) -> None:
    """
    Each request of a stream is refused; one with a token is answered.
    """
    expected: dict[Right | None, bool] = {None: True, "infer": False, "observe": True}
    for right, refused in expected.items():
        metadata = tuple(holders.header(right).items())
        stream = guarded.inference.ModelStreamInfer(iter([infer_request(3)]), metadata=metadata)
        answers = [answer async for answer in stream]
        assert [bool(answer.error_message) for answer in answers] == [refused]


async def test_our_client(guarded: Running, holders: Holders) -> None:
    """
    Our client sends its token with each call.
    """
    async with AsyncClient(guarded.address, token=holders.texts["infer"]) as client:
        assert (await client.classify(png(3), model="tiny")).predictions
        assert await client.models()
    async with AsyncClient(guarded.address) as client:
        with pytest.raises(ConvoyError) as failed:
            await client.models()
    assert failed.value.reason == "UNAUTHENTICATED"


@pytest.mark.with_fronts
async def test_tokens_change(serve: Serve, holders: Holders) -> None:
    """
    A token that is removed from the file is refused after the next check, without a restart.
    """
    metadata = tuple(holders.header("infer").items())
    async with serve(token_file=str(holders.file)) as running:
        await running.inference.ModelInfer(infer_request(3), metadata=metadata)
        holders.write("observe")
        await running.reload_credentials()
        refused = await outcome(running.inference.ModelInfer(infer_request(3), metadata=metadata))
        assert refused == UNAUTHENTICATED
        # A front forwards this one.
        known = tuple(holders.header("observe").items())
        await running.inference.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=known)


async def test_control_on_its_own_port(serve: Serve) -> None:
    """
    With a port for control, models are loaded there and nowhere else.
    """
    load = pb.RepositoryModelLoadRequest(model_name="tiny")
    async with serve(control_port=0, model_control_mode="explicit") as running:
        assert await outcome(running.inference.RepositoryModelLoad(load)) == DENIED
        answer = await ask("POST", running.url + "/v2/repository/models/tiny/load")
        assert (answer.status, answer.json()["reason"]) == (403, "PERMISSION_DENIED")
        path = "/inference.GRPCInferenceService/RepositoryModelLoad"
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.server.control_port}") as control:
            call: Any = control.unary_unary(path)
            await call(load.SerializeToString())
        await running.inference.ModelInfer(infer_request(3))


async def test_control_off(serve: Serve) -> None:
    """
    Without control nobody loads a model or changes the log.
    """
    async with serve(control=False) as running:
        for method in ("RepositoryModelLoad", "RepositoryModelUnload", "LogSettings"):
            message, _ = CALLS[method]
            assert await outcome(getattr(running.inference, method)(message)) == DENIED


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_open_server_logs_a_warning(
    serve: Serve, holders: Holders, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A server that other machines can reach logs at its start what is open to them.
    """
    for token_file, told in (
        ("", "not authenticated"),
        (str(holders.file), "can be read in transit"),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            async with serve(host=host, token_file=token_file, load=False):
                pass
        warned = [r.getMessage() for r in caplog.records if r.name.endswith("credentials")]
        assert [told in message for message in warned] == ([] if host == "127.0.0.1" else [True])


def test_every_rpc_is_looked_at() -> None:
    """
    The table above has every method of the protocol but those that say UNIMPLEMENTED.
    """
    methods = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    left = {method.name for method in methods} - set(CALLS) - {"ModelStreamInfer"}
    assert all("SharedMemory" in name or name == "TraceSetting" for name in left)
    service = classifier_pb2.DESCRIPTOR.services_by_name["ClassifierService"]
    assert {m.name for m in service.methods} == {"Classify", "ClassifyBatch", "ListModels"}


async def test_token_file_that_others_may_change(
    serve: Serve, holders: Holders, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A server says at its start that others could give themselves rights, on loopback, too.
    """
    holders.file.chmod(0o622)
    async with serve(token_file=str(holders.file), load=False):
        pass
    warned = [
        record for record in caplog.records if "other users can change" in record.getMessage()
    ]
    assert [vars(record)["file"] for record in warned] == [str(holders.file)]
