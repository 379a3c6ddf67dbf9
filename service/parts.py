"""The parts of a server that its settings alone decide: each function makes one."""

from __future__ import annotations

from pathlib import Path

from pydantic_core import from_json

from convoy.artifact.errors import RepositoryError
from convoy.artifact.preprocess import ImageLimits
from convoy.artifact.repository import ModelRepository
from convoy.service.batching.queue import BatchPolicy
from convoy.service.decoding.decoder import DecodePool, Decoder, DecodeThreads
from convoy.service.errors import StartError
from convoy.service.http.server import HttpLimits
from convoy.service.rpc.limits import MAX_STREAMS, ConnectionLimits
from convoy.service.runtime.device import Device, Gpu
from convoy.service.runtime.graph_cache import GraphCache
from convoy.service.security.credentials import Guards
from convoy.service.security.tls import TlsFiles
from convoy.service.serving.loader import LoadedArtifact, Repository
from convoy.service.settings import Settings
from convoy.service.sockets import resolve

AHEAD_S = 0.002
"""How long before a run on a GPU should end the next batch is taken. To join 32 images of 224
pixels and to wake a thread takes 0.6 ms (docs/benchmarks.md)."""


def address(host: str) -> str:
    """
    The address that *host* stands for.

    Raises:
        StartError: If it stands for none.
    """
    try:
        return resolve(host)
    except OSError as error:
        raise StartError(f"cannot listen on {host}: {error.strerror}") from error


def guards(settings: Settings) -> Guards:
    """Tokens and TLS; raises `StartError` if a file of theirs is of no use."""
    tls = None
    if settings.tls_certificate:
        client_ca = Path(settings.tls_client_ca) if settings.tls_client_ca else None
        tls = TlsFiles(Path(settings.tls_certificate), Path(settings.tls_key), client_ca)
    return Guards(Path(settings.token_file) if settings.token_file else None, tls)


def connection_limits(settings: Settings) -> ConnectionLimits:
    """Limits of gRPC's connections."""
    return ConnectionLimits(
        max_message_bytes=settings.max_message_bytes,
        max_metadata_bytes=settings.max_metadata_bytes,
        max_streams=settings.max_streams_per_connection or MAX_STREAMS[settings.transport],
        max_age_s=settings.max_connection_age_s,
        max_idle_s=settings.max_connection_idle_s,
        keepalive_s=settings.keepalive_s,
    )


def http_limits(settings: Settings) -> HttpLimits:
    """Limits of HTTP's connections."""
    return HttpLimits(
        max_connections=settings.max_http_connections,
        max_header_bytes=settings.max_metadata_bytes,
        request_timeout_s=settings.http_request_timeout_s,
    )


def decoder(settings: Settings, cpus: int) -> Decoder:
    """What decodes images; raises `StartError` if processes are asked for and cannot be had."""
    limits = ImageLimits(
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
        max_aspect_ratio=settings.max_image_aspect_ratio,
    )
    return Decoder(_decode_pool(settings, cpus), limits)


def _decode_pool(settings: Settings, cpus: int) -> DecodePool:
    if not settings.decode_processes:
        return DecodeThreads(settings.decode_threads or cpus)
    try:
        from convoy.service.decoding.processes import DecodeProcesses  # an extra
    except ImportError as error:
        raise StartError("decoding in processes needs the extra isolate") from error
    return DecodeProcesses(settings.decode_processes, settings.decode_timeout_s)


def repository(settings: Settings) -> Repository:
    """Where artifacts come from; raises `StartError` if a store cannot be had."""
    if "://" not in settings.model_repository:
        return ModelRepository(Path(settings.model_repository), settings.model_name)
    try:
        from convoy.service.serving.stores import RemoteRepository  # its library is an extra

        copies = Path(settings.repository_cache).expanduser()
        return RemoteRepository(settings.model_repository, copies)
    except (ImportError, RepositoryError) as error:
        raise StartError(f"{settings.model_repository}: {error}") from error


def device(settings: Settings, cpus: int) -> Device:
    """Where models run."""
    folder = _cache_folder(settings)
    return Device(
        policy=settings.device,
        cores=cpus,
        intra_op_threads=settings.intra_op_threads,
        gpu=Gpu(
            memory_limit_bytes=settings.gpu_memory_limit,
            tf32=settings.tf32,
            cuda_graphs=settings.cuda_graphs,
            tensorrt=settings.tensorrt,
            engine_folder=folder / "tensorrt" if folder else None,
        ),
    )


def graph_cache(settings: Settings) -> GraphCache:
    """Where optimised graphs are kept."""
    return GraphCache(_cache_folder(settings), settings.graph_cache_size)


def _cache_folder(settings: Settings) -> Path | None:
    return Path(settings.graph_cache).expanduser() if settings.graph_cache else None


def batch_policy(settings: Settings, loaded: LoadedArtifact) -> BatchPolicy:
    """How a model's requests wait and run; a batch size that was tuned is a bound."""
    size = loaded.session.max_batch_size
    tuned = None if settings.max_batch_size else loaded.session.tuned
    return BatchPolicy(
        max_batch_size=min(size, tuned.batch_size) if tuned else size,
        max_queue_delay_s=settings.max_queue_delay_ms / 1000,
        max_queue_size=max(settings.max_queue_size, size),
        cores=loaded.session.cores,
        weight=settings.model_weight.get(loaded.manifest.name, 1.0),
        inline_size=loaded.session.inline_size,
        ahead_s=AHEAD_S if loaded.session.on_gpu else 0.0,
    )


def comparison(settings: Settings) -> bytes:
    """
    What `convoy compare --json` wrote, for the page; empty if no file is named.

    Raises:
        StartError: If it cannot be read, or is not JSON.
    """
    path = settings.comparison_file
    if not path:
        return b""
    try:
        content = Path(path).read_bytes()
        from_json(content)
    except (OSError, ValueError) as error:
        raise StartError(f"cannot read {path}: {error}") from error
    return content
