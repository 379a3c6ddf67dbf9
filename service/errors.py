"""What can go wrong while answering a request, and how each is told to the client.

* ServiceError
  x InvalidImageError      INVALID_ARGUMENT    the client must change the image
  x ImageTooLargeError     INVALID_ARGUMENT    the client must send a smaller image
  x InvalidArgumentError   INVALID_ARGUMENT    the client must change the request
  x RequestTooLargeError   RESOURCE_EXHAUSTED  the client must send less at once
  x RequestTooSlowError    DEADLINE_EXCEEDED   the client must send its request faster (HTTP 408)
  x TooManyConnectionsError RESOURCE_EXHAUSTED the client must use fewer connections
  x ServerBusyError        RESOURCE_EXHAUSTED  retry after the time that the answer names
  x UnauthenticatedError   UNAUTHENTICATED     the client must send a token that is known here
  x PermissionDeniedError  PERMISSION_DENIED   the client must send a token with that right
  x ModelNotFoundError     NOT_FOUND           the client must change the model's name or version
  x ModelNotReadyError     UNAVAILABLE         retry with backoff
  x QueueFullError         RESOURCE_EXHAUSTED  retry after the time that the answer names
  x RequestExpiredError    DEADLINE_EXCEEDED   the answer would have come too late
  x ShuttingDownError      UNAVAILABLE         retry, on another replica
  x UnsupportedError       UNIMPLEMENTED       this server never does that
  x ModelControlError      FAILED_PRECONDITION the server must be started in another mode
  x ModelLoadError         FAILED_PRECONDITION the operator must mend the artifact or the server
    * ArtifactInvalidError FAILED_PRECONDITION   its files are damaged or missing
    * GoldenDriftError     FAILED_PRECONDITION   its answers are not those it was made with
    * MemoryBudgetError    RESOURCE_EXHAUSTED    it would not fit
  x InferenceError         INTERNAL            our fault; the message says nothing of the inside

* StartError: the server cannot start; one line, exit code 1.

Both transports derive their codes from `status`: gRPC by its name, HTTP by `http_status`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar

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
"""HTTP's code for each gRPC status in use, as in the comments of google/rpc/code.proto."""


def http_status(status: str, reason: str) -> HTTPStatus:
    """HTTP's code for an error of this status and reason."""
    if reason == RequestTooLargeError.reason:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    if reason == RequestTooSlowError.reason:
        return HTTPStatus.REQUEST_TIMEOUT
    return HTTP_STATUS[status]


class ServiceError(Exception):
    """
    Base class for every error that a client may see.

    Attributes:
        reason: UPPER_SNAKE_CASE identifier that clients may match on; never
            changes once released (AIP-193 `ErrorInfo.reason`).
        status: Name of a `grpc.StatusCode`, kept as text so that this file
            needs no gRPC.
        retry_after_s: When another try may succeed, in seconds; None if nobody knows.
    """

    reason: ClassVar[str]
    status: ClassVar[str]

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class InvalidImageError(ServiceError):
    """The bytes are not an image that this server decodes."""

    reason = "INVALID_IMAGE"
    status = "INVALID_ARGUMENT"


class ImageTooLargeError(ServiceError):
    """The image breaks the limit on bytes, on pixels or on how elongated it may be."""

    reason = "IMAGE_TOO_LARGE"
    status = "INVALID_ARGUMENT"


class InvalidArgumentError(ServiceError):
    """The request itself is wrong: a tensor's name, type, shape or size, or a number's range."""

    reason = "INVALID_ARGUMENT"
    status = "INVALID_ARGUMENT"


class RequestTooLargeError(ServiceError):
    """The request breaks a limit on bytes. grpcio refuses such a message by itself."""

    reason = "REQUEST_TOO_LARGE"
    status = "RESOURCE_EXHAUSTED"


class RequestTooSlowError(ServiceError):
    """The request does not come to its end in time. Only HTTP has such a clock."""

    reason = "REQUEST_TOO_SLOW"
    status = "DEADLINE_EXCEEDED"


class TooManyConnectionsError(ServiceError):
    """As many HTTP connections are open as are allowed to; the new one is closed."""

    reason = "TOO_MANY_CONNECTIONS"
    status = "RESOURCE_EXHAUSTED"


class ServerBusyError(ServiceError):
    """As many calls, or as many bytes of them, are in flight as are allowed to."""

    reason = "SERVER_BUSY"
    status = "RESOURCE_EXHAUSTED"


class UnauthenticatedError(ServiceError):
    """The call has no token, or one that is not known here."""

    reason = "UNAUTHENTICATED"
    status = "UNAUTHENTICATED"


class PermissionDeniedError(ServiceError):
    """The call's token has not the right, or nobody has it on this port."""

    reason = "PERMISSION_DENIED"
    status = "PERMISSION_DENIED"


class ModelNotFoundError(ServiceError):
    """No model of that name and version is served."""

    reason = "MODEL_NOT_FOUND"
    status = "NOT_FOUND"


class ModelNotReadyError(ServiceError):
    """The model is not loaded yet."""

    reason = "MODEL_NOT_READY"
    status = "UNAVAILABLE"


class QueueFullError(ServiceError):
    """As many images wait for this model as are allowed to."""

    reason = "QUEUE_FULL"
    status = "RESOURCE_EXHAUSTED"


class DeadlineUnmeetableError(ServiceError):
    """By what waits and what runs take, the answer would come after the client's deadline."""

    reason = "DEADLINE_UNMEETABLE"
    status = "RESOURCE_EXHAUSTED"


class RequestExpiredError(ServiceError):
    """The client's deadline passed while the request waited, or was too close when it was due."""

    reason = "REQUEST_EXPIRED"
    status = "DEADLINE_EXCEEDED"


class ShuttingDownError(ServiceError):
    """The server is draining and takes no new requests."""

    reason = "SHUTTING_DOWN"
    status = "UNAVAILABLE"


class UnsupportedError(ServiceError):
    """A part of the protocol that this server does not have."""

    reason = "UNSUPPORTED"
    status = "UNIMPLEMENTED"


class ModelControlError(ServiceError):
    """Models are not loaded and unloaded by request in this mode of the server."""

    reason = "MODEL_CONTROL_OFF"
    status = "FAILED_PRECONDITION"


class ModelLoadError(ServiceError):
    """The model cannot be opened, or not on this device. What served before goes on serving."""

    reason = "MODEL_LOAD_FAILED"
    status = "FAILED_PRECONDITION"


class ArtifactInvalidError(ModelLoadError):
    """The artifact is missing, damaged or not what its manifest says."""

    reason = "ARTIFACT_INVALID"
    status = "FAILED_PRECONDITION"


class GoldenDriftError(ModelLoadError):
    """The model does not answer here as it did where it was made."""

    reason = "GOLDEN_DRIFT"
    status = "FAILED_PRECONDITION"


class MemoryBudgetError(ModelLoadError):
    """The model would not fit into the memory budget beside those that are loaded."""

    reason = "MEMORY_BUDGET_EXCEEDED"
    status = "RESOURCE_EXHAUSTED"


class InferenceError(ServiceError):
    """The model failed on this image. The cause is logged, not sent."""

    reason = "INFERENCE_FAILED"
    status = "INTERNAL"


class StartError(Exception):
    """The server cannot start. The message is one line for the person who started it."""
