"""What can go wrong while answering a request, and how each is told to the client.

* ServiceError
  x InvalidImageError      INVALID_ARGUMENT    the client must change the image
  x ImageTooLargeError     INVALID_ARGUMENT    the client must send a smaller image
  x InvalidArgumentError   INVALID_ARGUMENT    the client must change the request
  x ModelNotFoundError     NOT_FOUND           the client must change the model's name or version
  x ModelNotReadyError     UNAVAILABLE         retry with backoff
  x QueueFullError         RESOURCE_EXHAUSTED  retry with backoff
  x RequestExpiredError    DEADLINE_EXCEEDED   the answer would have come too late
  x ShuttingDownError      UNAVAILABLE         retry, on another replica
  x InferenceError         INTERNAL            our fault; the message says nothing of the inside

* StartError: the server cannot start; one line, exit code 1.

Both transports derive their codes from `status`: gRPC by its name, HTTP by `HTTP_STATUS`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar

HTTP_STATUS = {
    "INVALID_ARGUMENT": HTTPStatus.BAD_REQUEST,
    "NOT_FOUND": HTTPStatus.NOT_FOUND,
    "RESOURCE_EXHAUSTED": HTTPStatus.TOO_MANY_REQUESTS,
    "INTERNAL": HTTPStatus.INTERNAL_SERVER_ERROR,
    "UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
    "DEADLINE_EXCEEDED": HTTPStatus.GATEWAY_TIMEOUT,
}
"""HTTP's code for each gRPC status in use, as in the comments of google/rpc/code.proto."""


class ServiceError(Exception):
    """
    Base class for every error that a client may see.

    Attributes:
        reason: UPPER_SNAKE_CASE identifier that clients may match on; never
            changes once released (AIP-193 `ErrorInfo.reason`).
        status: Name of a `grpc.StatusCode`, kept as text so that this file
            needs no gRPC.
    """

    reason: ClassVar[str]
    status: ClassVar[str]


class InvalidImageError(ServiceError):
    """The bytes are not an image that this server decodes."""

    reason = "INVALID_IMAGE"
    status = "INVALID_ARGUMENT"


class ImageTooLargeError(ServiceError):
    """The image breaks the limit on bytes or on pixels."""

    reason = "IMAGE_TOO_LARGE"
    status = "INVALID_ARGUMENT"


class InvalidArgumentError(ServiceError):
    """The request itself is wrong: a tensor's name, type, shape or size, or a number's range."""

    reason = "INVALID_ARGUMENT"
    status = "INVALID_ARGUMENT"


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


class RequestExpiredError(ServiceError):
    """The client's deadline passed while the request was waiting."""

    reason = "REQUEST_EXPIRED"
    status = "DEADLINE_EXCEEDED"


class ShuttingDownError(ServiceError):
    """The server is draining and takes no new requests."""

    reason = "SHUTTING_DOWN"
    status = "UNAVAILABLE"


class InferenceError(ServiceError):
    """The model failed on this image. The cause is logged, not sent."""

    reason = "INFERENCE_FAILED"
    status = "INTERNAL"


class StartError(Exception):
    """The server cannot start. The message is one line for the person who started it."""
