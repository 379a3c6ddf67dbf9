"""The parts that the engine and its fronts make of the settings in the same way."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from convoy.artifact.preprocess import ImageLimits
from convoy.service.decoding.decoder import Decoder, open_pool
from convoy.service.errors import StartError
from convoy.service.lifecycle import Lifecycle
from convoy.service.machine.resources import descriptor_limit
from convoy.service.rpc.limits import MAX_STREAMS, UNLIMITED, ConnectionLimits
from convoy.service.security.credentials import Credentials
from convoy.service.security.tokens import Tokens
from convoy.service.serving.monitoring.predictions import LogOptions, PredictionLog
from convoy.service.serving.monitoring.stores import open_store
from convoy.service.settings import Settings

if TYPE_CHECKING:
    from convoy.service.serving.monitoring.tracing import Tracing

logger = logging.getLogger(__name__)

GRPC_SHARE_OF_DESCRIPTORS = 0.25
"""Largest share of the file descriptors that gRPC connections may take, on each port."""


def make_credentials(settings: Settings) -> Credentials:
    """
    Make the credentials.

    Raises:
        StartError: If a file of them cannot be used.
    """
    return Credentials(
        settings.token_file,
        tls_certificate=settings.tls_certificate,
        tls_key=settings.tls_key,
        tls_client_ca=settings.tls_client_ca,
    )


def make_decoder(settings: Settings, cpus: int) -> Decoder:
    """
    Make the decoder of one process.

    Raises:
        StartError: If the extra that it needs is missing.
    """
    return Decoder(
        open_pool(
            settings.decode_threads or cpus, settings.decode_processes, settings.decode_timeout_s
        ),
        ImageLimits(
            max_bytes=settings.max_image_bytes,
            max_pixels=settings.max_image_pixels,
            max_aspect_ratio=settings.max_image_aspect_ratio,
        ),
    )


def make_lifecycle(settings: Settings, fronts: int = 1) -> Lifecycle:
    """Make the lifecycle of one process; each of several *fronts* has an equal share."""
    return Lifecycle(
        max_calls=math.ceil(settings.max_calls_in_flight / fronts),
        max_bytes=math.ceil(settings.max_bytes_in_flight / fronts),
    )


def connection_limits(
    settings: Settings, transport: Literal["grpcio", "native"], fronts: int = 1
) -> ConnectionLimits:
    """Make the limits of one gRPC port; each of several *fronts* has a share of its connections."""
    connections = UNLIMITED
    # Behind the native transport, that one alone connects, once for each client.
    if transport != "native":
        connections = limited(settings, "max_grpc_connections", GRPC_SHARE_OF_DESCRIPTORS)
        connections = math.ceil(connections / fronts)
    slow = math.ceil(settings.max_bytes_in_flight / settings.max_message_bytes / fronts)
    return ConnectionLimits(
        max_connections=connections,
        max_message_bytes=settings.max_message_bytes,
        message_timeout_s=settings.grpc_message_timeout_s,
        max_slow=slow,
        max_metadata_bytes=settings.max_metadata_bytes,
        max_streams=settings.max_streams_per_connection or MAX_STREAMS[transport],
        max_age_s=settings.max_connection_age_s,
        max_idle_s=settings.max_connection_idle_s,
        keepalive_s=settings.keepalive_s,
        keepalive_timeout_s=settings.keepalive_timeout_s,
        keepalive_without_calls=settings.keepalive_without_calls,
        max_pings_without_data=settings.max_pings_without_data,
        min_ping_interval_s=settings.min_ping_interval_s,
        max_ping_strikes=settings.max_ping_strikes,
    )


def open_prediction_log(
    settings: Settings, tokens: Tokens | None, dropped: Callable[[str, int], None]
) -> PredictionLog | None:
    """
    Open the log of predictions of one process; return None if there is none.

    Args:
        tokens: The tokens, which name the clients; None without authentication.
        dropped: Called, in any thread, with a reason and the number of rows that were dropped.

    Raises:
        StartError: If the log cannot be written.
    """
    if not settings.prediction_log:
        return None
    return PredictionLog(
        open_store(settings.prediction_log),
        LogOptions(shares=settings.prediction_log_share, images=settings.prediction_log_images),
        client_name=tokens.name_of if tokens else lambda digest: "",
        dropped=dropped,
    )


def open_tracing(traces: Literal["off", "calls", "phases"]) -> Tracing | None:
    """
    Open the connection to the collector of traces; return None if there are none.

    Raises:
        StartError: If the extra that it needs is missing.
    """
    if traces == "off":
        return None
    try:
        from convoy.service.serving.monitoring.tracing import open_tracing as opened  # an extra
    except ImportError as error:
        raise StartError("--traces is not available: install the extra otel") from error
    return opened(phases=traces == "phases")


def limited(settings: Settings, setting: str, share: float) -> int:
    """Return a limit of connections: the value of *setting*, or a share of the descriptors."""
    wanted, descriptors = getattr(settings, setting), descriptor_limit()
    # The rest is for models, and everything else.
    limit = int(max(1, min(wanted, descriptors * share)))
    if limit < wanted:
        logger.warning(
            "fewer connections than %s: raise the limit of open files (ulimit -n)",
            setting,
            extra={"limit": limit, "open_files": descriptors},
        )
    return limit
