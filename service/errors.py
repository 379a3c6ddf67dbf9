"""Errors that a client may see, and the statuses that both transports answer with.

Each class declares its reason and its gRPC status. Its HTTP status follows from the gRPC status
unless the class declares another one. docs/reference/errors.md lists all of them; tests/contract
checks that list, and sends each error over each transport.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, ClassVar

HTTP_STATUS = {
    "INVALID_ARGUMENT": HTTPStatus.BAD_REQUEST,
    "UNAUTHENTICATED": HTTPStatus.UNAUTHORIZED,
    "PERMISSION_DENIED": HTTPStatus.FORBIDDEN,
    "NOT_FOUND": HTTPStatus.NOT_FOUND,
    "RESOURCE_EXHAUSTED": HTTPStatus.TOO_MANY_REQUESTS,
    "INTERNAL": HTTPStatus.INTERNAL_SERVER_ERROR,
    "UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
    "DEADLINE_EXCEEDED": HTTPStatus.GATEWAY_TIMEOUT,
    "UNIMPLEMENTED": HTTPStatus.NOT_IMPLEMENTED,
    "FAILED_PRECONDITION": HTTPStatus.BAD_REQUEST,
}
"""HTTP status for each gRPC status in use, from the comments of google/rpc/code.proto."""


class ServiceError(Exception):
    """
    The base class of every error that a client may see.

    Args:
        retry_after_s: Time after which another try may succeed, in seconds; None if unknown.

    Attributes:
        reason: UPPER_SNAKE_CASE identifier that clients may match on; never changes once released
            (AIP-193 `ErrorInfo.reason`).
        status: Name of a `grpc.StatusCode`, kept as text so that this module needs no gRPC.
        http_status: Status of an HTTP answer; `HTTP_STATUS[status]` unless the class declares it.
    """

    reason: ClassVar[str]
    status: ClassVar[str]
    http_status: ClassVar[HTTPStatus]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        # Not `hasattr`: a subclass with another gRPC status must not inherit its parent's.
        if "http_status" not in vars(cls):
            cls.http_status = HTTP_STATUS[cls.status]

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        # A file's name need not be UTF-8, and a message to a client must be.
        if not message.isascii():
            message = message.encode(errors="backslashreplace").decode()
        super().__init__(message)
        self.retry_after_s = retry_after_s


class InvalidImageError(ServiceError):
    """The bytes are not an image that this server decodes; the client must send another."""

    reason = "INVALID_IMAGE"
    status = "INVALID_ARGUMENT"


class ImageTooLargeError(ServiceError):
    """The image exceeds the limit on bytes, pixels or aspect ratio."""

    reason = "IMAGE_TOO_LARGE"
    status = "INVALID_ARGUMENT"


class InvalidArgumentError(ServiceError):
    """The request itself is wrong: a tensor's name, type, shape or size, or a number's range."""

    reason = "INVALID_ARGUMENT"
    status = "INVALID_ARGUMENT"


class RequestTooLargeError(ServiceError):
    """The request exceeds a limit on bytes. grpcio itself refuses such a message."""

    reason = "REQUEST_TOO_LARGE"
    status = "RESOURCE_EXHAUSTED"
    http_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class RequestTooSlowError(ServiceError):
    """The request did not arrive completely in time, over HTTP or grpcio."""

    reason = "REQUEST_TOO_SLOW"
    status = "DEADLINE_EXCEEDED"
    http_status = HTTPStatus.REQUEST_TIMEOUT


class TooManyConnectionsError(ServiceError):
    """The limit on open HTTP connections is reached, and none of them is silent; retry later."""

    reason = "TOO_MANY_CONNECTIONS"
    status = "RESOURCE_EXHAUSTED"


class ServerBusyError(ServiceError):
    """The limit on calls in flight, or on their bytes, is reached; retry after the given time."""

    reason = "SERVER_BUSY"
    status = "RESOURCE_EXHAUSTED"


class UnauthenticatedError(ServiceError):
    """The call has no token, or one that this server does not know."""

    reason = "UNAUTHENTICATED"
    status = "UNAUTHENTICATED"


class PermissionDeniedError(ServiceError):
    """The call's token lacks the right, or this port grants it to no one."""

    reason = "PERMISSION_DENIED"
    status = "PERMISSION_DENIED"


class HostNotAllowedError(ServiceError):
    """The request names a host that this server is not to be called. Only HTTP has such names."""

    reason = "HOST_NOT_ALLOWED"
    status = "PERMISSION_DENIED"


class OriginNotAllowedError(ServiceError):
    """A browser sent the request for a web page of another site. Only HTTP has such requests."""

    reason = "ORIGIN_NOT_ALLOWED"
    status = "PERMISSION_DENIED"


class ModelNotFoundError(ServiceError):
    """No model of that name and version is served."""

    reason = "MODEL_NOT_FOUND"
    status = "NOT_FOUND"


class ModelNotReadyError(ServiceError):
    """The model is not loaded yet; retry with backoff."""

    reason = "MODEL_NOT_READY"
    status = "UNAVAILABLE"


class QueueFullError(ServiceError):
    """The limit on images that wait for the model is reached; retry after the given time."""

    reason = "QUEUE_FULL"
    status = "RESOURCE_EXHAUSTED"


class DeadlineUnmeetableError(ServiceError):
    """The queue is too long for the answer to arrive before the client's deadline."""

    reason = "DEADLINE_UNMEETABLE"
    status = "RESOURCE_EXHAUSTED"


class RequestExpiredError(ServiceError):
    """The client's deadline passed while the request waited, or was too close for a run."""

    reason = "REQUEST_EXPIRED"
    status = "DEADLINE_EXCEEDED"


class ShuttingDownError(ServiceError):
    """The server is draining and accepts no new requests; retry on another replica."""

    reason = "SHUTTING_DOWN"
    status = "UNAVAILABLE"


class UnsupportedError(ServiceError):
    """A part of the protocol that this server does not implement."""

    reason = "UNSUPPORTED"
    status = "UNIMPLEMENTED"


class ModelControlError(ServiceError):
    """Requests cannot load and unload models in this mode of the server."""

    reason = "MODEL_CONTROL_OFF"
    status = "FAILED_PRECONDITION"


class ModelLoadError(ServiceError):
    """The model cannot be opened, or not on this device. The version before it stays in service."""

    reason = "MODEL_LOAD_FAILED"
    status = "FAILED_PRECONDITION"


class ArtifactInvalidError(ModelLoadError):
    """The artifact is missing, damaged, or differs from its manifest."""

    reason = "ARTIFACT_INVALID"
    status = "FAILED_PRECONDITION"


class GoldenDriftError(ModelLoadError):
    """The model's answers here differ from those that it was made with."""

    reason = "GOLDEN_DRIFT"
    status = "FAILED_PRECONDITION"


class MemoryBudgetError(ModelLoadError):
    """The model does not fit into the memory budget beside the loaded ones."""

    reason = "MEMORY_BUDGET_EXCEEDED"
    status = "RESOURCE_EXHAUSTED"


class ShadowMismatchError(ModelLoadError):
    """The version cannot be a shadow: it does not accept every request of the one that serves."""

    reason = "SHADOW_MISMATCH"
    status = "FAILED_PRECONDITION"


class NoShadowError(ServiceError):
    """The model has no shadow, or its shadow is another version."""

    reason = "NO_SHADOW"
    status = "NOT_FOUND"


class PromotionRefusedError(ServiceError):
    """The shadow does not meet the bounds that the request states; nothing has changed."""

    reason = "PROMOTION_REFUSED"
    status = "FAILED_PRECONDITION"


class InferenceError(ServiceError):
    """The model failed on this image. The cause is logged, not sent."""

    reason = "INFERENCE_FAILED"
    status = "INTERNAL"


class ScoresNotFiniteError(ServiceError):
    """The model's scores for this image are NaN or infinite; other images are answered."""

    reason = "SCORES_NOT_FINITE"
    status = "INTERNAL"


class InternalError(ServiceError):
    """An error that nobody foresaw. The cause is logged, not sent."""

    reason = "INTERNAL"
    status = "INTERNAL"


class StartError(Exception):
    """The server cannot start. The message is one line for the person who started it."""
