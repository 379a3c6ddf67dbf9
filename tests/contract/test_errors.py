"""Every error over every transport: what a client gets is derived from the class, not by hand."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.routing import Route

from convoy.pb.convoy.v1 import classifier_pb2
from convoy.service.call import Calls
from convoy.service.errors import InferenceError, InvalidArgumentError, ServiceError
from convoy.service.http.limits import HttpLimits
from convoy.service.http.responses import error_response
from convoy.service.http.server import HttpServer
from convoy.service.lifecycle import Lifecycle
from convoy.service.rpc.backlog import Backlog
from convoy.service.rpc.fast_path import FastPath
from convoy.service.rpc.grpcio import CallInterceptor
from convoy.service.rpc.limits import ConnectionLimits
from convoy.service.rpc.receiving import Readers
from convoy.service.rpc.transport import UnaryMethods, make_transport
from convoy.service.security.access import Access
from convoy.service.serving.registry import ModelRegistry
from convoy.service.telemetry.logs import Origin
from convoy.service.telemetry.metrics import Metrics
from tests.harness.http import get

pytestmark = pytest.mark.both_transports


def subclasses(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for subclass in error.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


ERRORS = sorted(subclasses(ServiceError), key=lambda error: error.__name__)


async def call_failing_with(error: Exception, transport: str) -> grpc.aio.AioRpcError:
    """Raise *error* in a handler over a transport; returns what a client sees."""

    async def fail(request: Any, context: Any) -> Any:
        raise error

    metrics = Metrics(CollectorRegistry())
    calls = Calls(Access(), Lifecycle(), metrics, log_requests=False)
    registry = ModelRegistry()
    infer = FastPath(registry)
    backlog = Backlog(calls.lifecycle, metrics)
    readers = Readers.make(timeout_s=30.0, max_slow=1)
    server = grpc.aio.server(interceptors=(CallInterceptor(calls, infer, backlog, readers),))
    methods = UnaryMethods(calls, max_message_bytes=1000)
    handler = grpc.unary_unary_rpc_method_handler(
        fail,
        classifier_pb2.ClassifyRequest.FromString,
        classifier_pb2.ClassifyResponse.SerializeToString,
    )
    for taker in (server, methods):
        taker.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "convoy.v1.ClassifierService", {"Classify": handler}
                ),
            )
        )
    serving = make_transport(
        transport,
        server,
        methods,
        infer,
        registry,
        calls.lifecycle,
        backlog=backlog,
        tls=None,
        limits=ConnectionLimits(
            max_connections=10,
            max_message_bytes=1000,
            message_timeout_s=30,
            max_slow=1,
            max_metadata_bytes=8192,
            max_streams=10,
            max_age_s=0,
            max_idle_s=0,
            keepalive_s=0,
        ),
    )
    port = serving.listen("127.0.0.1:0")
    await serving.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary("/convoy.v1.ClassifierService/Classify")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(b"")
    await serving.stop(0)
    labels = {"model": "", "method": "Classify", "code": failed.value.code().name}
    assert metrics.registry.get_sample_value("convoy_requests_total", labels) == 1
    return failed.value


@pytest.mark.parametrize("error", ERRORS)
async def test_grpc(error: type[ServiceError], transport: str) -> None:
    """
    A client gets the error's status, message and reason.
    """
    failed = await call_failing_with(error("what went wrong"), transport)
    assert failed.code().name == error.status
    assert failed.details() == "what went wrong"
    assert dict(failed.trailing_metadata() or ())["error-reason"] == error.reason


async def test_unforeseen_error_is_not_exposed(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    An unforeseen error is logged with its traceback; the client learns nothing internal.
    """
    failed = await call_failing_with(RuntimeError("secret path"), transport)
    assert failed.code() is grpc.StatusCode.INTERNAL
    assert failed.details() == "internal error"
    assert dict(failed.trailing_metadata() or ())["error-reason"] == "INTERNAL"
    assert "secret path" in caplog.text


@pytest.mark.parametrize("error", ERRORS)
async def test_http(error: type[ServiceError]) -> None:
    """
    HTTP gives the same status, reason and message, with the code of the status.
    """

    calls = Calls(Access(), Lifecycle(), Metrics(CollectorRegistry()), log_requests=False)

    async def fail(request: Any) -> Any:
        try:
            with calls.open("ModelInfer", Origin("r-1")):
                raise error("what went wrong")
        except ServiceError as failure:
            return error_response(failure)

    limits = HttpLimits(max_connections=9, max_header_bytes=8192, request_timeout_s=9)
    app = Starlette(routes=[Route("/fail", fail)])
    server = HttpServer(app, limits, tls=None, refused=print)
    port = await server.start("127.0.0.1", 0)
    status, body = await get(f"http://127.0.0.1:{port}/fail")
    await server.stop()
    assert status == error.http_status
    assert json.loads(body) == {
        "error": "what went wrong",
        "status": error.status,
        "reason": error.reason,
    }


def test_reasons_are_unique_and_stable() -> None:
    """
    Clients match on these reasons: a change here breaks them.
    """
    assert {error.__name__: error.reason for error in ERRORS} == {
        "ArtifactInvalidError": "ARTIFACT_INVALID",
        "DeadlineUnmeetableError": "DEADLINE_UNMEETABLE",
        "GoldenDriftError": "GOLDEN_DRIFT",
        "HostNotAllowedError": "HOST_NOT_ALLOWED",
        "ImageTooLargeError": "IMAGE_TOO_LARGE",
        "InferenceError": "INFERENCE_FAILED",
        "InternalError": "INTERNAL",
        "InvalidArgumentError": "INVALID_ARGUMENT",
        "InvalidImageError": "INVALID_IMAGE",
        "MemoryBudgetError": "MEMORY_BUDGET_EXCEEDED",
        "ModelControlError": "MODEL_CONTROL_OFF",
        "ModelLoadError": "MODEL_LOAD_FAILED",
        "ModelNotFoundError": "MODEL_NOT_FOUND",
        "ModelNotReadyError": "MODEL_NOT_READY",
        "NoShadowError": "NO_SHADOW",
        "OriginNotAllowedError": "ORIGIN_NOT_ALLOWED",
        "PermissionDeniedError": "PERMISSION_DENIED",
        "PromotionRefusedError": "PROMOTION_REFUSED",
        "QueueFullError": "QUEUE_FULL",
        "RequestExpiredError": "REQUEST_EXPIRED",
        "RequestTooLargeError": "REQUEST_TOO_LARGE",
        "RequestTooSlowError": "REQUEST_TOO_SLOW",
        "ScoresNotFiniteError": "SCORES_NOT_FINITE",
        "ServerBusyError": "SERVER_BUSY",
        "ShadowMismatchError": "SHADOW_MISMATCH",
        "ShuttingDownError": "SHUTTING_DOWN",
        "TooManyConnectionsError": "TOO_MANY_CONNECTIONS",
        "UnauthenticatedError": "UNAUTHENTICATED",
        "UnsupportedError": "UNSUPPORTED",
    }


async def test_many_refusals_are_counted_and_few_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    A thousand calls refused for one reason leave one line; each that fails by our fault leaves one.

    The metrics know all of them.
    """
    metrics = Metrics(CollectorRegistry())
    calls = Calls(Access(), Lifecycle(), metrics, log_requests=False)
    with caplog.at_level(logging.INFO):
        for _ in range(1000):
            with pytest.raises(InvalidArgumentError), calls.open("Classify", Origin("one")):
                raise InvalidArgumentError("wrong")
        with pytest.raises(InvalidArgumentError), calls.open("ModelInfer", Origin("one")):
            raise InvalidArgumentError("wrong in another method")
        assert [vars(line)["method"] for line in caplog.records] == ["Classify", "ModelInfer"]
        assert vars(caplog.records[0])["reason"] == "INVALID_ARGUMENT"
        caplog.clear()
        with pytest.raises(InferenceError), calls.open("Classify", Origin("two")):
            raise InferenceError("broken")
    (line,) = caplog.records
    assert vars(line)["code"] == "INTERNAL"
    labels = {"model": "", "method": "Classify", "code": "INVALID_ARGUMENT"}
    assert metrics.registry.get_sample_value("convoy_requests_total", labels) == 1000
