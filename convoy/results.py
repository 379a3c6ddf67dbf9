"""Results and errors of the client: plain frozen data, not protobuf messages."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from convoy.connecting import explain
from convoy.pb.convoy.v1 import classifier_pb2 as pb


class ConvoyError(Exception):
    """
    The failure of a call, or of one image of a batch.

    Attributes:
        code: The name of the gRPC status, such as `UNAVAILABLE`.
        reason: The server's stable reason, such as `QUEUE_FULL`; empty if the call did not reach
            the server.
    """

    def __init__(self, code: str, reason: str, message: str) -> None:
        super().__init__(f"{message} ({reason or code})")
        self.code = code
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type[ConvoyError], tuple[str, str, str]]:
        # By default an exception is made again of its text alone, which fails in another process.
        return type(self), (self.code, self.reason, self.message)


@dataclass(frozen=True, slots=True)
class Prediction:
    """
    One class: its index in the model's output, its name, and its probability in `[0, 1]`.

    The probabilities of a multi-label model are independent of each other.
    """

    class_index: int
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Timing:
    """The server's time in each phase, in seconds, and the number of images in the batch."""

    decode_s: float
    queue_s: float
    inference_s: float
    respond_s: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class Classification:
    """
    The answer for one image.

    Attributes:
        predictions: The most probable classes, the most probable first.
        model_sha256: The SHA-256 of the model file that answered.
    """

    predictions: tuple[Prediction, ...]
    model: str
    model_version: int
    model_sha256: str
    timing: Timing

    @property
    def label(self) -> str:
        """The name of the most probable class."""
        return self.predictions[0].label

    @property
    def probability(self) -> float:
        """The probability of the most probable class, in `[0, 1]`."""
        return self.predictions[0].probability


@dataclass(frozen=True, slots=True)
class Model:
    """
    One model of the server.

    Attributes:
        input_shape: The height, width and channels of its input.
        fallback_reason: The reason why it does not run on the preferred device or provider;
            empty if it does.
        is_multi_label: Whether an image may be of several classes or none; its probabilities are
            then independent of each other.
    """

    name: str
    version: int
    architecture: str
    sha256: str
    labels: tuple[str, ...]
    input_shape: tuple[int, int, int]
    max_batch_size: int
    precision: str
    provider: str
    fallback_reason: str
    is_multi_label: bool


def to_classification(message: pb.ClassifyResponse) -> Classification:
    """Convert the server's message to a `Classification`."""
    timing = message.timing
    return Classification(
        predictions=tuple(
            Prediction(p.class_index, p.label, p.probability) for p in message.predictions
        ),
        model=message.model,
        model_version=message.model_version,
        model_sha256=message.model_sha256,
        timing=Timing(
            timing.decode_us / 1e6,
            timing.queue_us / 1e6,
            timing.inference_us / 1e6,
            timing.respond_us / 1e6,
            timing.batch_size,
        ),
    )


def to_outcomes(message: pb.ClassifyBatchResponse) -> list[Classification | ConvoyError]:
    """Convert the server's message to one result or error for each image of a batch."""
    codes = {code.value[0]: code.name for code in grpc.StatusCode}
    return [
        to_classification(outcome.response)
        if outcome.HasField("response")  # else this image failed alone
        else ConvoyError(codes[outcome.error.code], outcome.error.reason, outcome.error.message)
        for outcome in message.outcomes
    ]


def to_models(message: pb.ListModelsResponse) -> list[Model]:
    """Convert the server's message to `Model`s."""
    return [
        Model(
            name=model.name,
            version=model.version,
            architecture=model.architecture,
            sha256=model.sha256,
            labels=tuple(model.labels),
            input_shape=(model.input_height_px, model.input_width_px, model.input_channel_count),
            max_batch_size=model.max_batch_size,
            precision=model.precision,
            provider=model.provider,
            fallback_reason=model.fallback_reason,
            is_multi_label=model.multi_label,
        )
        for model in message.models
    ]


def to_error(error: grpc.RpcError, address: str) -> ConvoyError:
    """Convert an error of grpc, of either kind of channel, to a `ConvoyError`."""
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError)
    # The server's own errors carry a reason; those that gRPC itself raises do not. Metadata is read
    # as pairs, since that of asyncio is a mapping, whose keys are wrong before grpcio 1.80.
    trailers = dict(iter(error.trailing_metadata() or ()))
    reason = trailers.get("error-reason", "")
    assert isinstance(reason, str)
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.CANCELLED:
        # We never cancel a call that somebody waits for: gRPC reports this status for calls that
        # reach a server while it closes.
        return ConvoyError("UNAVAILABLE", reason, "the server closed the connection")
    return ConvoyError(code.name, reason, details if reason else explain(code, details, address))
