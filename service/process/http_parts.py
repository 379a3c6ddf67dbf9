"""The parts of the engine that answer over HTTP, made from the settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from convoy.service.call import Calls
from convoy.service.http.body import BodyReader
from convoy.service.http.classify import Classify
from convoy.service.http.limits import HttpLimits
from convoy.service.http.page import Page, read_comparison
from convoy.service.http.page_answers import PageAnswers
from convoy.service.http.page_class_maps import PageClassMaps
from convoy.service.http.page_occlusion import PageOcclusion
from convoy.service.http.rest import Rest
from convoy.service.http.routes import create_app, outermost
from convoy.service.http.server import HttpServer
from convoy.service.http.shadow_routes import ShadowRoutes
from convoy.service.lifecycle import Lifecycle
from convoy.service.process.shared_parts import limited
from convoy.service.protocol.classifier import ClassifierProtocol
from convoy.service.protocol.methods import InferenceProtocol
from convoy.service.protocol.shadow_control import ShadowProtocol
from convoy.service.security.tls import Tls
from convoy.service.serving.class_map_finder import ClassMapFinder
from convoy.service.serving.registry import ModelRegistry
from convoy.service.settings import Settings
from convoy.service.telemetry.history import History
from convoy.service.telemetry.metrics import Metrics

HTTP_SHARE_OF_DESCRIPTORS = 0.5
"""Largest share of the file descriptors that HTTP connections may take."""


def make_http(
    settings: Settings,
    *,
    registry: ModelRegistry,
    class_maps: ClassMapFinder,
    protocol: InferenceProtocol,
    shadows: ShadowProtocol,
    calls: Calls,
    lifecycle: Lifecycle,
    metrics: Metrics,
    history: History,
    tls: Tls | None,
    grpc_port: Callable[[], int],
) -> HttpServer:
    """Make the HTTP transport: the REST API, the page, metrics and probes."""
    read_body = BodyReader(settings.max_message_bytes, settings.http_request_timeout_s)
    classifier = ClassifierProtocol(registry, max_images_per_call=settings.max_images_per_call)
    rest = Rest(
        protocol,
        calls,
        lifecycle,
        read_body=read_body,
        max_json_bytes=settings.max_json_bytes,
    )
    classify = Classify(
        classifier, calls, read_body=read_body, max_images=settings.max_images_per_call
    )
    shadow_routes = ShadowRoutes(
        shadows, calls, read_body=read_body, max_json_bytes=settings.max_json_bytes
    )
    page_class_maps, occlusion = _explanations(registry, class_maps, calls, read_body)
    page = Page(
        registry,
        history,
        calls,
        grpc_port=grpc_port,
        max_image_bytes=settings.max_image_bytes,
        answers=PageAnswers(
            registry,
            classifier,
            calls,
            read_body=read_body,
            max_models=settings.max_images_per_call,
        ),
        class_maps=page_class_maps,
        occlusion=occlusion,
        may_control=settings.model_control_mode == "explicit",
        comparison=read_comparison(settings.comparison_file),
    )
    return HttpServer(
        outermost(
            create_app(rest, classify, shadow_routes, page, metrics, calls.access),
            root_path=settings.http_root_path,
            cors_origins=settings.cors_origins,
        ),
        _limits(settings),
        tls=tls,
        refused=metrics.refused,
    )


def _explanations(
    registry: ModelRegistry, finder: ClassMapFinder, calls: Calls, read_body: BodyReader
) -> tuple[PageClassMaps, PageOcclusion]:
    # Clients do not send images with hidden parts, and an image was classified before it is
    # explained: neither belongs in the prediction log or in drift.
    unobserved = dataclasses.replace(calls, observers=())
    return (
        PageClassMaps(registry, unobserved, finder, read_body=read_body),
        PageOcclusion(registry, unobserved, read_body=read_body),
    )


def _limits(settings: Settings) -> HttpLimits:
    return HttpLimits(
        max_connections=limited(settings, "max_http_connections", HTTP_SHARE_OF_DESCRIPTORS),
        max_per_address=settings.max_http_connections_per_address,
        max_header_bytes=settings.max_metadata_bytes,
        request_timeout_s=settings.http_request_timeout_s,
    )
