"""The settings of the server: one frozen object, created once at startup.

Each field is the only declaration of an option (`convoy/options.py`), and each class a panel of the
help. No other module of the server reads the environment. Properties of a model (labels, input
size) are in its manifest, not here.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ByteSize, Field, field_validator, model_validator

from convoy.artifact.manifest import ModelName
from convoy.options import Names, Option, Options, Pairs, Separated, pairs, split
from convoy.service.serving.policy import VersionPolicy

MIB = 1024 * 1024

Weight = Annotated[float, Field(gt=0, le=1000)]
Share = Annotated[float, Field(ge=0, le=1)]
DriftWindow = Annotated[float, Field(ge=1, le=31 * 86_400)]


def _shares(value: Any) -> Any:
    """Read shares by model; a text without a name is the share of all that are not named."""
    parts = split(value)
    # A default, or values from Python.
    if not isinstance(parts, list):
        return parts
    return pairs([part if "=" in part else f"*={part}" for part in parts])


Shares = BeforeValidator(_shares)


class _Common(Options):
    """Settings that most servers need."""

    panel = "Common"

    model_repository: Annotated[str, BeforeValidator(str), Option("DIR", brief=True)] = Field(
        "model_repository",
        min_length=1,
        description="Serve the models of this folder, or of a URL such as s3://bucket/models.",
    )
    host: Annotated[str, Option("ADDRESS", brief=True)] = Field(
        "",
        description="Listen on this address or host name. If unset, listen on all IPv4 and IPv6 "
        "addresses.",
    )
    grpc_port: Annotated[int, Option("PORT", brief=True)] = Field(
        8001, ge=0, le=65535, description="Listen for gRPC on this port. 0 chooses a free port."
    )
    http_port: Annotated[int, Option("PORT", brief=True)] = Field(
        8000, ge=0, le=65535, description="Listen for HTTP on this port. 0 chooses a free port."
    )
    device: Annotated[Literal["auto", "cuda", "cpu"], Option(brief=True)] = Field(
        "auto",
        description="Run models on this device. auto uses a GPU if CUDA is available, and the CPU "
        "otherwise.",
    )


class _Models(Options):
    """The models to serve, and when to load them."""

    panel = "Models"

    model_control_mode: Annotated[Literal["none", "poll", "explicit"], Option(brief=True)] = Field(
        "none",
        description="Choose when models are loaded and unloaded. none: at startup only. poll: "
        "when the repository changes. explicit: when a client asks.",
    )
    load_model: Annotated[Names, Option("NAME", brief=True)] = Field(
        [],
        description="Load these models at startup, with --model-control-mode explicit. * loads "
        "all models.",
    )
    version_policy: Annotated[dict[str, str], Pairs, Option("NAME=POLICY", brief=True)] = Field(
        {"*": "latest:1"},
        description="Choose the versions to serve of each model: latest:N, all, or "
        "specific:N[:N...]. The name * stands for all models that are not named.",
    )
    repository_poll_s: float = Field(
        15.0,
        ge=0.05,
        le=86_400,
        description="Check the repository for changes at this interval, with --model-control-mode "
        "poll.",
    )
    model_name: Annotated[ModelName | Literal[""], Option("NAME")] = Field(
        "", description="Name the model, if the repository is the folder of a single version."
    )
    repository_cache: Annotated[str, Option("DIR")] = Field(
        "~/.cache/convoy/artifacts",
        min_length=1,
        description="Keep copies of the models of a URL in this folder.",
    )
    memory_budget: ByteSize = Field(
        ByteSize(0),
        ge=0,
        description="Refuse to load models that need more memory than this in total, such as "
        "4GiB. 0 disables the limit.",
    )
    graph_cache: Annotated[str, Option("DIR")] = Field(
        "~/.cache/convoy/graphs",
        description="Keep graphs that ONNX Runtime has optimized for this machine in this folder. "
        "An empty value disables the cache.",
    )
    graph_cache_size: ByteSize = Field(
        ByteSize(4 * 1024 * MIB),
        ge=0,
        description="Limit the size of the graph cache, such as 4GiB.",
    )


class _Batching(Options):
    """Batches, and the queues before them."""

    panel = "Batching"

    max_batch_size: Annotated[int, Option(brief=True)] = Field(
        0,
        ge=0,
        le=1024,
        description="Limit the number of images in a batch. 0 uses each model's own maximum.",
    )
    max_queue_delay_ms: Annotated[float, Option(brief=True)] = Field(
        0.0,
        ge=0,
        le=60_000,
        description="Let a batch wait up to this long for more images.",
    )
    max_queue_size: int = Field(
        1024,
        ge=1,
        description="Limit the number of waiting images per model. Further images are refused.",
    )
    model_weight: Annotated[dict[str, Weight], Pairs, Option("NAME=NUMBER")] = Field(
        {},
        description="Set the models' shares of the device when several of them have work. Models "
        "that are not named have 1.",
    )


class _Security(Options):
    """Clients, and their rights."""

    panel = "Security"

    token_file: Annotated[str, Option("FILE", brief=True)] = Field(
        "",
        description="Require a bearer token from this file. `convoy token` writes the file. If "
        "unset, requests are not authenticated.",
    )
    tls_certificate: Annotated[str, Option("FILE", brief=True)] = Field(
        "", description="Use TLS on both ports, with the certificate chain in this PEM file."
    )
    tls_key: Annotated[str, Option("FILE", brief=True)] = Field(
        "", description="Read the private key of --tls-certificate from this PEM file."
    )
    tls_client_ca: Annotated[str, Option("FILE")] = Field(
        "",
        description="Require client certificates (mTLS) of the certificate authorities in this "
        "PEM file.",
    )
    control: bool = Field(
        True,
        description="Allow clients to load and unload models, to start and promote shadows, and to "
        "change the log level.",
    )
    control_host: Annotated[str, Option("ADDRESS")] = Field(
        "localhost", min_length=1, description="Listen on this address for --control-port."
    )
    control_port: Annotated[int | None, Option("PORT")] = Field(
        None,
        ge=0,
        le=65535,
        description="Serve model control on this gRPC port only. If unset, --grpc-port serves it.",
    )
    allowed_hosts: Annotated[Names, Option("HOST")] = Field(
        [],
        description="Accept HTTP requests for these host names, such as models.example.com or "
        "*.lab.example. * accepts any name. Addresses, localhost and names of private networks "
        "are always accepted. If unset, a server with --token-file or TLS accepts any name.",
    )
    cors_origins: Annotated[Names, Option("ORIGIN")] = Field(
        [],
        description="Let web pages of these origins call the HTTP API from a browser, such as "
        "https://app.example.com. * lets all pages call it, and needs --token-file.",
    )
    allow_unbounded_messages: bool = Field(
        False,
        description="Allow --transport native for clients that are not trusted, such as on a "
        "public address. One compressed megabyte from any of them can fill a gigabyte of memory.",
    )


class _Cpu(Options):
    """Threads and processes that run models, decode images and speak gRPC."""

    panel = "CPU"

    cpu_provider: Annotated[Literal["auto", "onnxruntime", "openvino"], Option(brief=True)] = Field(
        "auto",
        description="Run models on the CPU with ONNX Runtime's own kernels or with OpenVINO. auto "
        "uses what `convoy tune` has chosen, and otherwise OpenVINO for bf16 and ONNX Runtime for "
        "float32. Needs the extra openvino.",
    )
    cpu_precision: Annotated[Literal["float32", "bf16"], Option(brief=True)] = Field(
        "float32",
        description="Compute float32 layers on the CPU in this format. bf16 is up to twice as "
        "fast and less precise, and needs OpenVINO and a processor with AVX-512 BF16 or AMX.",
    )
    intra_op_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Use this many CPU threads for one run. 0 uses one for small networks, and "
        "for large networks all available cores, or half of them with OpenVINO.",
    )
    decode_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Decode images in this many threads. 0 uses one per available core.",
    )
    decode_processes: int = Field(
        0,
        ge=0,
        le=1024,
        description="Decode images in this many processes, so that a crash in a decoder affects "
        "one image only. 0 decodes in threads. Needs the extra isolate.",
    )
    decode_timeout_s: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Allow this long for decoding one image, with --decode-processes.",
    )
    front_processes: int = Field(
        0,
        ge=0,
        le=256,
        description="Receive gRPC calls and decode their images in this many processes, which "
        "share the port. 0 does it in the process that runs the models.",
    )
    front_memory: ByteSize = Field(
        ByteSize(256 * MIB),
        ge=MIB,
        description="Limit the memory for images and tensors in progress of each front process, "
        "such as 256MiB.",
    )


class _Gpu(Options):
    """Models on a GPU."""

    panel = "GPU"

    gpu_memory_limit: Annotated[ByteSize, Option(brief=True)] = Field(
        ByteSize(0),
        ge=0,
        description="Limit the GPU memory of each model, such as 2GiB. 0 disables the limit.",
    )
    tf32: bool = Field(
        False,
        description="Allow TF32 for float32 models on a GPU. It is faster and less precise, and "
        "PyTorch's default for convolutions.",
    )
    cuda_graphs: bool = Field(
        True,
        description="Capture the work of each batch size once on a GPU, and replay it. Without "
        "it, all batches are padded to the largest size.",
    )
    tensorrt: bool = Field(
        False,
        description="Run models with TensorRT where possible. Building an engine takes minutes, "
        "once per model. Needs the extra tensorrt.",
    )


class _Limits(Options):
    """Limits of images, requests and calls."""

    panel = "Limits"

    max_image_bytes: Annotated[int, Option(brief=True)] = Field(
        10 * MIB,
        ge=1,
        description="Limit the size of an encoded image. Photographs of 50 megapixels need "
        "33554432, here and for --max-message-bytes.",
    )
    max_image_pixels: Annotated[int, Option(brief=True)] = Field(
        25_000_000,
        ge=1,
        description="Limit the number of pixels of an image, which is its width times its height. "
        "Photographs of 48 or 50 megapixels need 50000000. Each decoding thread takes up to 24 "
        "bytes of memory per pixel, or 9 bytes for a JPEG.",
    )
    max_image_aspect_ratio: float = Field(
        200.0, ge=1, description="Limit the ratio of an image's longer side to its shorter side."
    )
    max_images_per_call: int = Field(
        256,
        ge=1,
        description="Limit the number of images in one ClassifyBatch call or one HTTP form.",
    )
    max_message_bytes: int = Field(
        16 * MIB,
        ge=1,
        lt=2**31,
        description="Limit the size of a request after decompression. If a model's largest batch "
        "needs more, loading the model logs a warning.",
    )
    max_json_bytes: int = Field(
        4 * MIB,
        ge=1,
        description="Limit the size of the JSON in an HTTP request, not counting binary tensors.",
    )
    max_calls_in_flight: int = Field(
        4096,
        ge=1,
        description="Limit the number of calls in progress. Further calls are refused.",
    )
    max_bytes_in_flight: ByteSize = Field(
        ByteSize(1024 * MIB), ge=1, description="Limit the total size of all requests in progress."
    )
    max_metadata_bytes: int = Field(
        16 * 1024,
        ge=1024,
        lt=2**31,
        description="Limit the size of a gRPC call's metadata, and of an HTTP request's headers.",
    )
    grpc_message_timeout_s: float = Field(
        30.0,
        gt=0,
        le=86_400,
        description="Allow this long for the message of a gRPC call to arrive. ModelStreamInfer "
        "has no such limit. Only for --transport grpcio.",
    )
    http_request_timeout_s: float = Field(
        30.0,
        gt=0,
        le=86_400,
        description="Allow this long for the headers of an HTTP request to arrive, and this long "
        "again for its body.",
    )


class _Connections(Options):
    """Transports and their connections."""

    panel = "Connections"

    transport: Literal["grpcio", "native"] = Field(
        "grpcio",
        description="Use this implementation of gRPC. native is faster, but receives whole "
        "messages before it checks any limit. It needs the extra fast.",
    )
    http_root_path: Annotated[str, Option("PATH")] = Field(
        "",
        description="Also serve HTTP under this path, which a proxy in front adds and does not "
        "remove, such as /models.",
    )
    max_grpc_connections: int = Field(
        1024,
        ge=1,
        lt=2**31 - 1,
        description="Limit the number of open gRPC connections. Only for --transport grpcio.",
    )
    max_streams_per_connection: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="Limit the number of concurrent calls on a gRPC connection. Further calls "
        "wait in the client. 0 uses 1024 for grpcio, and 256 for native.",
    )
    max_connection_age_s: float = Field(
        0.0,
        ge=0,
        le=86_400,
        description="Ask gRPC clients to reconnect after this long, so that load balancers can "
        "redistribute them. 0 never asks.",
    )
    max_connection_idle_s: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description="Close gRPC connections that have had no calls for this long. 0 never closes "
        "them.",
    )
    keepalive_s: float = Field(
        60.0,
        ge=0,
        le=86_400,
        description="Ping gRPC clients that have been silent for this long. 0 never pings.",
    )
    keepalive_timeout_s: float = Field(
        20.0,
        gt=0,
        le=86_400,
        description="Close the connection of a gRPC client that does not answer a ping within "
        "this time.",
    )
    keepalive_without_calls: bool = Field(
        True,
        description="Also ping gRPC clients that have no calls in progress. Only for --transport "
        "grpcio.",
    )
    max_pings_without_data: int = Field(
        0,
        ge=0,
        lt=2**31,
        description="Limit the number of pings to a gRPC client that sends no data. 0 disables "
        "the limit. Only for --transport grpcio.",
    )
    min_ping_interval_s: float = Field(
        1.0,
        ge=0,
        le=86_400,
        description="Require this much time between pings from a gRPC client that sends no data. "
        "Only for --transport grpcio.",
    )
    max_ping_strikes: int = Field(
        2,
        ge=0,
        lt=2**31,
        description="Close the connection of a gRPC client after this many pings that come too "
        "early. 0 never closes it. Only for --transport grpcio.",
    )
    max_http_connections: int = Field(
        1024,
        ge=1,
        description="Limit the number of open HTTP connections, to half of the process's open "
        "files at most. For a new connection, the server closes the one that has been silent "
        "longest.",
    )
    max_http_connections_per_address: int = Field(
        0,
        ge=0,
        description="Limit the number of open HTTP connections per client address. 0 disables the "
        "limit. Behind a proxy, all clients have the same address.",
    )


class _Shutdown(Options):
    """The end of the server."""

    panel = "Shutdown"

    shutdown_grace_s: float = Field(
        5.0,
        ge=0,
        le=3600,
        description="After SIGTERM, report not ready but keep serving for this long, so that load "
        "balancers notice.",
    )
    shutdown_timeout_s: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="After the grace period, wait up to this long for calls in progress.",
    )
    exit_on_fatal_error: bool = Field(
        False,
        description="Exit with code 1 when a model can no longer run, such as after the loss of "
        "its device. Without it, the server reports not ready until the model runs again.",
    )


class _Observability(Options):
    """The log, traces, and the page."""

    panel = "Observability"

    log_level: Annotated[Literal["debug", "info", "warning", "error"], Option(brief=True)] = Field(
        "info", description="Log lines of this level and above."
    )
    log_format: Annotated[Literal["auto", "json", "text"], Option(brief=True)] = Field(
        "auto",
        description="Write the log in this format. auto writes text to a terminal, and JSON "
        "otherwise.",
    )
    log_requests: Annotated[bool, Option(brief=True)] = Field(
        False,
        description="Log every request. Without it, the server logs one failed call of each kind "
        "per minute.",
    )
    traces: Literal["off", "calls", "phases"] = Field(
        "off",
        description="Send traces to an OpenTelemetry collector: a span for each call, or also one "
        "for each of its phases. OpenTelemetry's environment variables, such as "
        "OTEL_EXPORTER_OTLP_ENDPOINT, name the collector.",
    )
    prediction_log: Annotated[str, Option("DIR")] = Field(
        "",
        description="Log predictions as Parquet files in this folder, or at a URL such as "
        "s3://bucket/predictions.",
    )
    prediction_log_share: Annotated[dict[str, Share], Shares, Option("[NAME=]SHARE")] = Field(
        {"*": 0.01},
        description="Log this share of the requests, from 0 to 1; with a name, those of one model.",
    )
    prediction_log_images: bool = Field(
        False, description="Keep the encoded images of the logged requests, too."
    )
    drift: bool = Field(
        False,
        description="Measure how far requests differ from the models' baselines, which "
        "`convoy baseline` makes.",
    )
    drift_windows_s: Annotated[list[DriftWindow], Separated, Option("SECONDS")] = Field(
        [900.0, 86_400.0],
        min_length=1,
        description="Measure drift in sliding windows of these lengths.",
    )
    comparison_file: Annotated[str, Option("FILE")] = Field(
        "",
        description="Show this output of `convoy compare --json` on the page. The file is read at "
        "startup.",
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

    @field_validator("http_root_path")
    @classmethod
    def _is_path(cls, path: str) -> str:
        if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", path):
            raise ValueError(f"{path!r} is not valid; expected a path such as /models")
        return path

    @field_validator("version_policy")
    @classmethod
    def _policies_can_be_read(cls, policies: dict[str, str]) -> dict[str, str]:
        # Parsed again where they are used; here an error names the setting at startup.
        for text in policies.values():
            VersionPolicy.parse(text)
        return policies

    @model_validator(mode="after")
    def _limits_agree(self) -> Self:
        # A queue that cannot hold one batch, or one call, would refuse it for ever.
        if self.max_queue_size < max(self.max_batch_size, self.max_images_per_call):
            raise ValueError(
                "--max-queue-size must be at least --max-batch-size and --max-images-per-call"
            )
        # Otherwise the transport refuses images that the decoder accepts.
        if self.max_message_bytes < self.max_image_bytes:
            raise ValueError("--max-message-bytes must be at least --max-image-bytes")
        return self

    @model_validator(mode="after")
    def _options_have_what_they_need(self) -> Self:
        # It would refuse all that it is for.
        if self.control_port is not None and not self.control:
            raise ValueError("--control-port needs model control; leave out --no-control")
        # Control would be served where the user believes that it is not.
        default = type(self).model_fields["control_host"].default
        if self.control_port is None and self.control_host != default:
            raise ValueError("--control-host needs --control-port")
        # Nothing would be kept.
        if self.prediction_log_images and not self.prediction_log:
            raise ValueError("--prediction-log-images needs --prediction-log")
        # Other systems lack memfd, and a kernel that distributes the connections of a shared port.
        if self.front_processes and sys.platform != "linux":
            raise ValueError("--front-processes needs Linux; leave it out on this system")
        # ONNX Runtime's own kernels do not support bf16.
        if self.cpu_provider == "onnxruntime" and self.cpu_precision == "bf16":
            raise ValueError(
                "--cpu-precision bf16 needs OpenVINO; leave out --cpu-provider onnxruntime"
            )
        return self

    @model_validator(mode="after")
    def _is_secure(self) -> Self:
        # Any page could use the server through its visitors' browsers.
        if "*" in self.cors_origins and not self.token_file:
            raise ValueError(
                "--cors-origins * needs --token-file; name the origins, or add a token file"
            )
        # With only one of them, the server would start without the intended TLS.
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("--tls-certificate and --tls-key need each other")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("--tls-client-ca needs --tls-certificate and --tls-key")
        # pygrpc-native has no TLS.
        if self.tls_certificate and self.transport == "native":
            raise ValueError("--transport native has no TLS; use grpcio, or a proxy in front of it")
        # pygrpc-native has no limit either. An address that others reach, or a token file, means
        # that strangers may connect.
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
    """Return whether only this machine reaches *host*; names other than localhost may be public."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
