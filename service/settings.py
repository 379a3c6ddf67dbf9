"""The settings of the server: one frozen object, created once at startup.

Each field is declared once. Its declaration defines a flag, an environment variable, a default and
a line of `--help`: `max_batch_size` is `--max-batch-size` and `CONVOY_MAX_BATCH_SIZE`. A flag takes
precedence over the environment, and the environment over the default. No other module of the server
reads the environment. Properties of a model (labels, input size) are in its manifest, not here.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ByteSize, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    CliImplicitFlag,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from convoy.artifact.manifest import ModelName
from convoy.service.machine.environment import PREFIX, Variables
from convoy.service.serving.policy import VersionPolicy

MIB = 1024 * 1024


def _parts(value: Any) -> Any:
    """Split text at its commas, and return any other value as it is, for pydantic to judge."""
    # Case 1: no text, such as a default; or a list in JSON.
    if not isinstance(value, str) or value.startswith("["):
        return _from_json(value)
    # Case 2: `A,B`.
    return [part for part in value.replace(" ", "").split(",") if part]


def _pairs(value: Any) -> Any:
    """Read `NAME=VALUE,NAME=VALUE`, and return any other value as it is, for pydantic to judge."""
    # Case 1: no text, such as a default; or an object in JSON, which flags become, too.
    if not isinstance(value, str) or value.startswith("{"):
        return _from_json(value)
    # Case 2: pairs.
    pairs = [part.partition("=") for part in _parts(value)]
    if not all(name and equals and content for name, equals, content in pairs):
        raise ValueError(f"{value!r} is not a list of pairs: expected NAME=VALUE,NAME=VALUE")
    return {name: content for name, _, content in pairs}


def _from_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


Weight = Annotated[float, Field(gt=0, le=1000)]

Names = Annotated[list[str], NoDecode, BeforeValidator(_parts)]
"""A flag that may be repeated, and a variable with commas."""

Pairs = (NoDecode, BeforeValidator(_pairs))
"""Annotations of a map: a flag that may be repeated, and a variable with commas."""


class Settings(BaseSettings):
    """
    Serve the models of a repository over gRPC, with health and metrics over HTTP.

    Each option is also a variable: --grpc-port is CONVOY_GRPC_PORT.
    """

    model_config = SettingsConfigDict(
        frozen=True, env_prefix=PREFIX, cli_kebab_case=True, cli_prog_name="convoy serve"
    )

    model_repository: Annotated[str, BeforeValidator(str)] = Field(
        "model_repository",
        min_length=1,
        description="Folder of artifacts, or a URL of one, such as s3://bucket/models.",
    )
    model_name: ModelName | Literal[""] = Field(
        "", description="Name of the model, if the repository is an artifact itself."
    )
    repository_cache: str = Field(
        "~/.cache/convoy/artifacts",
        min_length=1,
        description="Folder for copies of artifacts from a URL.",
    )
    model_control_mode: Literal["none", "poll", "explicit"] = Field(
        "none",
        description="none loads at the start; poll also follows the repository; explicit loads "
        "and unloads by request.",
    )
    load_model: Names = Field(
        [], description="Models to load at the start in mode explicit; * is all of them."
    )
    repository_poll_s: float = Field(
        15.0, ge=0.05, le=86_400, description="Time between two looks at the repository."
    )
    version_policy: Annotated[dict[str, str], *Pairs] = Field(
        {"*": "latest:1"},
        description="Versions to serve, by model; * is every other one. Values: latest:N, all, "
        "specific:N:N..., as in --version-policy lenet5=all.",
    )
    memory_budget: ByteSize = Field(
        ByteSize(0),
        ge=0,
        description="Most memory that all models may take by their manifests, such as 4GiB; "
        "0 is no limit.",
    )
    graph_cache: str = Field(
        "~/.cache/convoy/graphs",
        description="Folder for graphs that ONNX Runtime optimised for this machine; empty for "
        "none.",
    )
    graph_cache_size: ByteSize = Field(
        ByteSize(4 * 1024 * MIB), ge=0, description="Most that the folder may hold."
    )
    transport: Literal["grpcio", "native"] = Field(
        "grpcio",
        description="What speaks gRPC; native is faster, limits no message before it is whole in "
        "memory, and needs the extra fast.",
    )
    allow_unbounded_messages: CliImplicitFlag[bool] = Field(
        False,
        description="Let transport native serve strangers, as with --token-file or on a public "
        "address: one compressed megabyte from any of them can fill a gigabyte of memory.",
    )
    host: str = Field(
        "",
        description="Listen on this address or name; empty: on all addresses, of IPv4 and IPv6.",
    )
    grpc_port: int = Field(8001, ge=0, le=65535, description="gRPC; 0 picks a free one.")
    http_port: int = Field(8000, ge=0, le=65535, description="HTTP; 0 picks a free one.")
    control: CliImplicitFlag[bool] = Field(
        True, description="Let rpcs load and unload models, and change the log's level."
    )
    control_host: str = Field("127.0.0.1", min_length=1, description="Address of --control-port.")
    control_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="gRPC port where alone they may do so; without one, wherever they arrive.",
    )

    token_file: str = Field(
        "", description="File of bearer tokens, by `convoy token`; without one all may do all."
    )
    tls_certificate: str = Field(
        "", description="PEM of the server's certificate chain, for both ports; empty for no TLS."
    )
    tls_key: str = Field("", description="PEM of its key.")
    tls_client_ca: str = Field(
        "", description="PEM of the authorities of the clients that alone may connect (mTLS)."
    )

    allowed_hosts: Names = Field(
        [],
        description="Names by which HTTP clients may address the server, such as "
        "models.example.com,*.lab.example; addresses, localhost and names of private networks "
        "always may; * allows any. With --token-file or TLS any may, unless names are given.",
    )
    cors_origins: Names = Field(
        [],
        description="Origins of web pages that may use the HTTP API from a browser, such as "
        "https://app.example.com; * allows any, and needs --token-file.",
    )
    http_root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path that a proxy in front adds and does not remove, such as /models; the "
        "same routes without it keep working.",
    )

    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="Where models run; auto prefers CUDA and says so if it cannot."
    )
    gpu_memory_limit: ByteSize = Field(
        ByteSize(0),
        ge=0,
        description="Most memory of a GPU that each model may take, such as 2GiB; 0 is no limit.",
    )
    tf32: CliImplicitFlag[bool] = Field(
        False,
        description="Let a GPU round float32 to TF32, as PyTorch does: faster, and less exact.",
    )
    cuda_graphs: CliImplicitFlag[bool] = Field(
        True,
        description="Capture the work of each batch size on a GPU once, and replay it; without "
        "that all batches are filled up to the largest size.",
    )
    tensorrt: CliImplicitFlag[bool] = Field(
        False,
        description="Let TensorRT run what it can on a GPU; building its engines takes minutes, "
        "once. Needs the extra tensorrt.",
    )
    intra_op_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Threads inside one run on a CPU; 0 takes 1 for a small network, all that the "
        "process may for a large one.",
    )
    decode_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Threads that decode images; 0 takes all that the process may.",
    )
    decode_processes: int = Field(
        0,
        ge=0,
        le=1024,
        description="Decode in that many processes instead: a crash in a decoder takes one image "
        "with it, not the server. Needs the extra isolate; 0 takes threads.",
    )
    decode_timeout_s: float = Field(
        10.0, gt=0, le=3600, description="Longest time for one image, in a process."
    )

    comparison_file: str = Field(
        "", description="What `convoy compare --json` wrote, for the page; read at the start."
    )

    max_batch_size: int = Field(
        0, ge=0, le=1024, description="Most images in one batch; 0 takes the artifact's."
    )
    max_queue_delay_ms: float = Field(
        0.0, ge=0, le=60_000, description="Longest wait for a fuller batch."
    )
    model_weight: Annotated[dict[str, Weight], *Pairs] = Field(
        {},
        description="Shares of the device where several models have work, as in --model-weight "
        "lenet5=4; 1 for those not named.",
    )
    max_queue_size: int = Field(1024, ge=1, description="Most images waiting per model.")

    max_image_bytes: int = Field(10 * MIB, ge=1, description="Size of one encoded image.")
    max_image_pixels: int = Field(25_000_000, ge=1, description="Width x height of one image.")
    max_image_aspect_ratio: float = Field(
        200.0, ge=1, description="Longer side by shorter one of one image."
    )
    max_images_per_call: int = Field(256, ge=1, description="Images in one ClassifyBatch.")
    max_message_bytes: int = Field(
        16 * MIB,
        ge=1,
        lt=2**31,
        description="Size of one request, unpacked; a model whose largest batch needs more says so "
        "when it is loaded.",
    )
    max_json_bytes: int = Field(
        4 * MIB, ge=1, description="Size of the JSON in one HTTP request; tensors may be binary."
    )

    max_calls_in_flight: int = Field(
        4096, ge=1, description="Calls in handlers, and calls that wait in the gRPC transport."
    )
    max_bytes_in_flight: ByteSize = Field(
        ByteSize(1024 * MIB), ge=1, description="Bytes of their requests together."
    )
    max_streams_per_connection: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="Calls at once on one gRPC connection; 0: 1,024 over grpcio, 256 over native.",
    )
    max_metadata_bytes: int = Field(
        16 * 1024, ge=1024, lt=2**31, description="Metadata of a gRPC call, headers of HTTP's."
    )
    max_connection_age_s: float = Field(
        0.0,
        ge=0,
        le=86_400,
        description="gRPC clients are sent to a new connection after this time, as balancers "
        "may want it; 0 is never.",
    )
    max_connection_idle_s: float = Field(
        300.0, ge=0, le=86_400, description="A gRPC connection without calls is closed; 0: never."
    )
    keepalive_s: float = Field(
        60.0,
        ge=0,
        le=86_400,
        description="Ping a silent gRPC client after this time, in seconds; 0 disables it.",
    )
    keepalive_timeout_s: float = Field(
        20.0, gt=0, le=86_400, description="Time for a client to answer a ping, in seconds."
    )
    keepalive_without_calls: CliImplicitFlag[bool] = Field(
        True, description="Also ping clients that have no calls in progress, over grpcio."
    )
    max_pings_without_data: int = Field(
        0,
        ge=0,
        lt=2**31,
        description="Pings to a client without data between them, over grpcio; 0 is no limit.",
    )
    min_ping_interval_s: float = Field(
        1.0,
        ge=0,
        le=86_400,
        description="Shortest time between two pings of a client that sends no data, in seconds, "
        "over grpcio.",
    )
    max_ping_strikes: int = Field(
        2,
        ge=0,
        lt=2**31,
        description="Earlier pings after which the client's connection is closed, over grpcio; 0 "
        "is no limit.",
    )
    max_grpc_connections: int = Field(
        1024, ge=1, lt=2**31 - 1, description="Open gRPC connections, over grpcio."
    )
    grpc_message_timeout_s: float = Field(
        30.0,
        gt=0,
        le=86_400,
        description="For the message of a gRPC call to arrive, over grpcio; those that clients of "
        "ModelStreamInfer send may take any time.",
    )
    max_http_connections: int = Field(
        1024,
        ge=1,
        description="Open HTTP connections, at most half of the files that the process may open. "
        "The one that has been silent longest is closed for a new one.",
    )
    max_http_connections_per_address: int = Field(
        0,
        ge=0,
        description="Open HTTP connections of one client address; 0 is no limit: behind a proxy, "
        "all clients have its address.",
    )
    http_request_timeout_s: float = Field(
        30.0,
        gt=0,
        le=86_400,
        description="For the headers of an HTTP request to arrive, and again for its body.",
    )

    shutdown_grace_s: float = Field(
        5.0,
        ge=0,
        le=3600,
        description="Not ready but still serving after SIGTERM, for balancers to see.",
    )
    shutdown_timeout_s: float = Field(
        30.0, ge=0, le=3600, description="Longest wait for calls in flight after the grace."
    )

    exit_on_fatal_error: CliImplicitFlag[bool] = Field(
        False,
        description="End with code 1 when a model cannot run any more, as when its device is lost; "
        "otherwise the server is not ready until it can.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Level.")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="auto: text on a terminal, JSON elsewhere."
    )
    log_requests: CliImplicitFlag[bool] = Field(
        False, description="Log every request, not only one failed call of each kind a minute."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources of settings besides flags, which take precedence."""
        return init_settings, Variables(settings_cls)

    @field_validator("version_policy")
    @classmethod
    def _policies_can_be_read(cls, policies: dict[str, str]) -> dict[str, str]:
        # Parsed again where they are used; here an error names the setting at startup.
        for text in policies.values():
            VersionPolicy.parse(text)
        return policies

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        # A queue that cannot hold one batch, or one call, would refuse it for ever.
        if self.max_queue_size < max(self.max_batch_size, self.max_images_per_call):
            raise ValueError(
                "max_queue_size must be at least max_batch_size and max_images_per_call"
            )
        # Otherwise the transport refuses images that the decoder accepts.
        if self.max_message_bytes < self.max_image_bytes:
            raise ValueError("max_message_bytes must be at least max_image_bytes")
        # Any page could use the server through its visitors' browsers.
        if "*" in self.cors_origins and not self.token_file:
            raise ValueError("cors_origins * needs token_file: name the origins instead")
        # One without the other is a mistake: do not start without the intended TLS.
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key need each other")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("tls_client_ca needs tls_certificate")
        # pygrpc-native has no TLS.
        if self.tls_certificate and self.transport == "native":
            raise ValueError("transport native speaks no TLS: take grpcio, or a proxy before it")
        # pygrpc-native has no limit either. An address that others reach, or a need for tokens,
        # says that strangers may connect.
        exposed = bool(self.token_file) or not _is_loopback(self.host)
        if self.transport == "native" and exposed and not self.allow_unbounded_messages:
            raise ValueError(
                "transport native inflates and keeps messages of any size before it checks "
                "max_message_bytes or a token: take --transport grpcio; or listen on --host "
                "127.0.0.1, without --token-file, behind a proxy that limits requests; or, if all "
                "who can reach the port are trusted, add --allow-unbounded-messages"
            )
        return self


def _is_loopback(host: str) -> bool:
    """Return whether only this machine reaches *host*; other names than localhost may be public."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
