"""The settings of the server: one frozen object, created once at startup.

Each field is the only declaration of an option (`convoy/options.py`), and each class a panel of the
help. No other module of the server reads the environment. Properties of a model (labels, input
size) are in its manifest, not here.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ByteSize, Field, field_validator, model_validator

from convoy.artifact.manifest import ModelName
from convoy.options import Names, Option, Options, Pairs
from convoy.service.serving.policy import VersionPolicy

MIB = 1024 * 1024

Weight = Annotated[float, Field(gt=0, le=1000)]


class _Common(Options):
    """Settings that most servers need."""

    panel = "Common"

    model_repository: Annotated[str, BeforeValidator(str), Option("DIR", brief=True)] = Field(
        "model_repository",
        min_length=1,
        description="Folder of models, or its URL, such as s3://bucket/models.",
    )
    host: Annotated[str, Option("ADDRESS", brief=True)] = Field(
        "",
        description="Listen on this address or host name. Empty: all IPv4 and IPv6 addresses.",
    )
    grpc_port: Annotated[int, Option("PORT", brief=True)] = Field(
        8001, ge=0, le=65535, description="gRPC port. 0: any free port."
    )
    http_port: Annotated[int, Option("PORT", brief=True)] = Field(
        8000, ge=0, le=65535, description="HTTP port. 0: any free port."
    )
    device: Annotated[Literal["auto", "cuda", "cpu"], Option(brief=True)] = Field(
        "auto",
        description="Where models run. auto uses CUDA if it is available, and logs a warning "
        "otherwise.",
    )


class _Models(Options):
    """The models to serve, and when to load them."""

    panel = "Models"

    model_control_mode: Annotated[Literal["none", "poll", "explicit"], Option(brief=True)] = Field(
        "none",
        description="When models are loaded and unloaded. none: at startup only. poll: when "
        "the repository changes. explicit: by request.",
    )
    load_model: Annotated[Names, Option("NAME", brief=True)] = Field(
        [], description="Load these models at startup, in mode explicit. * loads all."
    )
    version_policy: Annotated[dict[str, str], Pairs, Option("NAME=POLICY", brief=True)] = Field(
        {"*": "latest:1"},
        description="Versions to serve, by model: latest:N, all, or specific:N[:N...]. * "
        "stands for all other models. Example: --version-policy lenet5=all.",
    )
    repository_poll_s: float = Field(
        15.0,
        ge=0.05,
        le=86_400,
        description="Check the repository for changes every so many seconds, in mode poll.",
    )
    model_name: Annotated[ModelName | Literal[""], Option("NAME")] = Field(
        "", description="Name of the model, if the repository is the folder of a single version."
    )
    repository_cache: Annotated[str, Option("DIR")] = Field(
        "~/.cache/convoy/artifacts",
        min_length=1,
        description="Folder for local copies of models from a URL.",
    )
    memory_budget: ByteSize = Field(
        ByteSize(0),
        ge=0,
        description="Refuse to load models beyond this much memory in total, such as 4GiB. 0: "
        "no limit.",
    )
    graph_cache: Annotated[str, Option("DIR")] = Field(
        "~/.cache/convoy/graphs",
        description="Folder for graphs that ONNX Runtime has optimized for this machine. "
        "Empty: no cache.",
    )
    graph_cache_size: ByteSize = Field(
        ByteSize(4 * 1024 * MIB), ge=0, description="Maximum size of the graph cache."
    )


class _Batching(Options):
    """Batches, and the queues before them."""

    panel = "Batching"

    max_batch_size: Annotated[int, Option(brief=True)] = Field(
        0,
        ge=0,
        le=1024,
        description="Maximum number of images in a batch. 0: the model's own maximum.",
    )
    max_queue_delay_ms: Annotated[float, Option(brief=True)] = Field(
        0.0,
        ge=0,
        le=60_000,
        description="Maximum time that a batch waits for more images, in milliseconds.",
    )
    max_queue_size: int = Field(
        1024,
        ge=1,
        description="Maximum number of waiting images per model. Further ones are refused.",
    )
    model_weight: Annotated[dict[str, Weight], Pairs, Option("NAME=NUMBER")] = Field(
        {},
        description="Shares of the device when several models have work, such as "
        "--model-weight lenet5=4. Models that are not named have 1.",
    )


class _Security(Options):
    """Clients, and their rights."""

    panel = "Security"

    token_file: Annotated[str, Option("FILE", brief=True)] = Field(
        "",
        description="Bearer-token file (see `convoy token`). If unset, requests are not "
        "authenticated.",
    )
    tls_certificate: Annotated[str, Option("FILE", brief=True)] = Field(
        "", description="Certificate chain of the server, in PEM, for both ports. Empty: no TLS."
    )
    tls_key: Annotated[str, Option("FILE", brief=True)] = Field(
        "", description="Private key of the certificate, in PEM."
    )
    tls_client_ca: Annotated[str, Option("FILE")] = Field(
        "",
        description="Certificate authorities, in PEM. If set, only clients with a certificate "
        "of one of them can connect (mTLS).",
    )
    control: bool = Field(
        True, description="Allow clients to load and unload models, and to change the log level."
    )
    control_host: Annotated[str, Option("ADDRESS")] = Field(
        "localhost", min_length=1, description="Listen on this address for --control-port."
    )
    control_port: Annotated[int | None, Option("PORT")] = Field(
        None,
        ge=0,
        le=65535,
        description="Serve model control only on this gRPC port. Default: the main port.",
    )
    allowed_hosts: Annotated[Names, Option("HOST")] = Field(
        [],
        description="Host names by which HTTP clients may address the server, such as "
        "models.example.com,*.lab.example. Addresses, localhost and names of "
        "private networks are always allowed. * allows any name. With "
        "--token-file or TLS, any name is allowed unless this is set.",
    )
    cors_origins: Annotated[Names, Option("ORIGIN")] = Field(
        [],
        description="Origins of web pages that may call the HTTP API from a browser, such as "
        "https://app.example.com. * allows any, and needs --token-file.",
    )
    allow_unbounded_messages: bool = Field(
        False,
        description="Let the native transport serve clients that are not trusted, as with "
        "--token-file or on a public address. One compressed megabyte from any of "
        "them can fill a gigabyte of memory.",
    )


class _Cpu(Options):
    """Threads that run models and decode images."""

    panel = "CPU"

    intra_op_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="CPU threads of one run. 0: one for small networks, all available cores "
        "for large ones.",
    )
    decode_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Threads that decode images. 0: one per available core.",
    )
    decode_processes: int = Field(
        0,
        ge=0,
        le=1024,
        description="Decode images in this many processes, so that a crash in a decoder "
        "affects one image only. Needs the extra isolate. 0: decode in threads.",
    )
    decode_timeout_s: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Maximum time to decode one image, in seconds, with --decode-processes.",
    )


class _Gpu(Options):
    """Models on a GPU."""

    panel = "GPU"

    gpu_memory_limit: Annotated[ByteSize, Option(brief=True)] = Field(
        ByteSize(0),
        ge=0,
        description="Maximum GPU memory of each model, such as 2GiB. 0: no limit.",
    )
    tf32: bool = Field(
        False,
        description="Allow TF32 for float32 models on a GPU: faster and less precise, as "
        "PyTorch does by default.",
    )
    cuda_graphs: bool = Field(
        True,
        description="Capture the work of each batch size once on a GPU, and replay it. "
        "Otherwise all batches are padded to the largest size.",
    )
    tensorrt: bool = Field(
        False,
        description="Run models with TensorRT where possible. Building an engine takes "
        "minutes, once per model. Needs the extra tensorrt.",
    )


class _Limits(Options):
    """Limits of images, requests and calls."""

    panel = "Limits"

    max_image_bytes: Annotated[int, Option(brief=True)] = Field(
        10 * MIB,
        ge=1,
        description="Maximum size of an encoded image, in bytes. Photographs of "
        "50 megapixels need 33554432 here and for --max-message-bytes.",
    )
    max_image_pixels: Annotated[int, Option(brief=True)] = Field(
        25_000_000,
        ge=1,
        description="Maximum number of pixels of an image: width times height. "
        "Each decoding thread takes up to 24 bytes of memory per pixel (JPEG: 9): 50000000, for "
        "photographs of 48 or 50 megapixels, cost up to 1.2 GB per thread (JPEG: 450 MB).",
    )
    max_image_aspect_ratio: float = Field(
        200.0, ge=1, description="Maximum ratio of the longer side of an image to the shorter one."
    )
    max_images_per_call: int = Field(
        256, ge=1, description="Maximum number of images in one ClassifyBatch call or form."
    )
    max_message_bytes: int = Field(
        16 * MIB,
        ge=1,
        lt=2**31,
        description="Maximum size of a request, uncompressed, in bytes. A model whose largest "
        "batch needs more logs a warning when it is loaded.",
    )
    max_json_bytes: int = Field(
        4 * MIB,
        ge=1,
        description="Maximum size of the JSON in an HTTP request, in bytes. Binary tensors do "
        "not count.",
    )
    max_calls_in_flight: int = Field(
        4096,
        ge=1,
        description="Maximum number of calls in progress. Further ones are refused.",
    )
    max_bytes_in_flight: ByteSize = Field(
        ByteSize(1024 * MIB), ge=1, description="Maximum size of all requests in progress together."
    )
    max_metadata_bytes: int = Field(
        16 * 1024,
        ge=1024,
        lt=2**31,
        description="Maximum size of the metadata of a gRPC call, and of the headers of an "
        "HTTP request, in bytes.",
    )
    grpc_message_timeout_s: float = Field(
        30.0,
        gt=0,
        le=86_400,
        description="Maximum time for the message of a gRPC call to arrive, in seconds. "
        "Messages of ModelStreamInfer have no limit. grpcio only.",
    )
    http_request_timeout_s: float = Field(
        30.0,
        gt=0,
        le=86_400,
        description="Maximum time for the headers of an HTTP request to arrive, and again for "
        "its body, in seconds.",
    )


class _Connections(Options):
    """Transports and their connections."""

    panel = "Connections"

    transport: Literal["grpcio", "native"] = Field(
        "grpcio",
        description="gRPC implementation. native is faster, but receives whole messages "
        "before it checks any limit. It needs the extra fast.",
    )
    http_root_path: Annotated[str, Option("PATH")] = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path that a proxy in front adds and does not remove, such as /models. "
        "The routes without it keep working.",
    )
    max_grpc_connections: int = Field(
        1024,
        ge=1,
        lt=2**31 - 1,
        description="Maximum number of open gRPC connections. grpcio only.",
    )
    max_streams_per_connection: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="Maximum number of concurrent calls on a gRPC connection. Further ones "
        "wait in the client. 0: 1,024 over grpcio, 256 over native.",
    )
    max_connection_age_s: float = Field(
        0.0,
        ge=0,
        le=86_400,
        description="Ask gRPC clients to reconnect after so many seconds, so that load "
        "balancers can redistribute them. 0: never.",
    )
    max_connection_idle_s: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description="Close gRPC connections without calls after so many seconds. 0: never.",
    )
    keepalive_s: float = Field(
        60.0,
        ge=0,
        le=86_400,
        description="Ping a silent gRPC client after so many seconds. 0: never.",
    )
    keepalive_timeout_s: float = Field(
        20.0,
        gt=0,
        le=86_400,
        description="Close the connection of a gRPC client that does not answer a ping within "
        "so many seconds.",
    )
    keepalive_without_calls: bool = Field(
        True, description="Also ping gRPC clients that have no calls in progress. grpcio only."
    )
    max_pings_without_data: int = Field(
        0,
        ge=0,
        lt=2**31,
        description="Maximum number of pings to a gRPC client without data between them. 0: "
        "no limit. grpcio only.",
    )
    min_ping_interval_s: float = Field(
        1.0,
        ge=0,
        le=86_400,
        description="Minimum time between two pings from a gRPC client that sends no data, in "
        "seconds. grpcio only.",
    )
    max_ping_strikes: int = Field(
        2,
        ge=0,
        lt=2**31,
        description="Close the connection of a gRPC client after so many pings that come too "
        "early. 0: never. grpcio only.",
    )
    max_http_connections: int = Field(
        1024,
        ge=1,
        description="Maximum number of open HTTP connections, and at most half of the "
        "process's limit on open files. For a new connection, the one that has "
        "been silent longest is closed.",
    )
    max_http_connections_per_address: int = Field(
        0,
        ge=0,
        description="Maximum number of open HTTP connections per client address. 0: no limit. "
        "Behind a proxy, all clients have its address.",
    )


class _Shutdown(Options):
    """The end of the server."""

    panel = "Shutdown"

    shutdown_grace_s: float = Field(
        5.0,
        ge=0,
        le=3600,
        description="After SIGTERM, report not ready but keep serving for so many seconds, so "
        "that load balancers notice.",
    )
    shutdown_timeout_s: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="After the grace period, wait at most so many seconds for calls in progress.",
    )
    exit_on_fatal_error: bool = Field(
        False,
        description="Exit with code 1 when a model can no longer run, such as after the loss "
        "of its device. Otherwise the server reports not ready until the model "
        "runs again.",
    )


class _Observability(Options):
    """The log, and the page."""

    panel = "Observability"

    log_level: Annotated[Literal["debug", "info", "warning", "error"], Option(brief=True)] = Field(
        "info", description="Minimum level of log lines."
    )
    log_format: Annotated[Literal["auto", "json", "text"], Option(brief=True)] = Field(
        "auto", description="Format of the log. auto: text on a terminal, JSON otherwise."
    )
    log_requests: Annotated[bool, Option(brief=True)] = Field(
        False,
        description="Log every request. Otherwise, log one failed call of each kind per minute.",
    )
    comparison_file: Annotated[str, Option("FILE")] = Field(
        "", description="Output of `convoy compare --json`, shown on the page. Read at startup."
    )


class Settings(
    _Common,
    _Models,
    _Batching,
    _Security,
    _Cpu,
    _Gpu,
    _Limits,
    _Connections,
    _Shutdown,
    _Observability,
):
    """
    Serve the models of a repository over gRPC and HTTP.

    A model repository is a folder with a folder for each model. `convoy export` and `convoy import`
    write models into it.
    """

    examples = (
        ("Serve every model in ./model_repository", "convoy serve"),
        (
            "Serve two models of another folder",
            "convoy serve --model-repository /srv/models \\\n"
            "      --model-control-mode explicit \\\n"
            "      --load-model lenet5,resnet50",
        ),
        (
            "Require bearer tokens, and encrypt both ports",
            "convoy serve --token-file tokens \\\n"
            "      --tls-certificate server.pem --tls-key server.key",
        ),
    )

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
                "--max-queue-size must be at least --max-batch-size and --max-images-per-call"
            )
        # Otherwise the transport refuses images that the decoder accepts.
        if self.max_message_bytes < self.max_image_bytes:
            raise ValueError("--max-message-bytes must be at least --max-image-bytes")
        # Any page could use the server through its visitors' browsers.
        if "*" in self.cors_origins and not self.token_file:
            raise ValueError(
                "--cors-origins * needs --token-file; name the origins, or add a token file"
            )
        # One without the other is a mistake: do not start without the intended TLS.
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("--tls-certificate and --tls-key need each other")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("--tls-client-ca needs --tls-certificate and --tls-key")
        # pygrpc-native has no TLS.
        if self.tls_certificate and self.transport == "native":
            raise ValueError("--transport native has no TLS; use grpcio, or a proxy in front of it")
        # pygrpc-native has no limit either. An address that others reach, or a need for tokens,
        # says that strangers may connect.
        exposed = bool(self.token_file) or not _is_loopback(self.host)
        if self.transport == "native" and exposed and not self.allow_unbounded_messages:
            raise ValueError(
                "--transport native receives messages of any size before it checks "
                "--max-message-bytes or a token; use --transport grpcio; or listen on --host "
                "127.0.0.1, without --token-file, behind a proxy that limits requests; or, if all "
                "clients that can reach the port are trusted, add --allow-unbounded-messages"
            )
        return self


def _is_loopback(host: str) -> bool:
    """Return whether only this machine reaches *host*; other names than localhost may be public."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
