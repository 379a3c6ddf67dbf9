"""Listing, loading and unloading models by request, in Triton's and KServe's words."""

from __future__ import annotations

from google.protobuf import json_format

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.errors import InvalidArgumentError, ServiceError, UnsupportedError
from convoy.service.policy import VersionPolicy
from convoy.service.protocol import description
from convoy.service.serving.control import ModelControl
from convoy.service.serving.registry import ModelRegistry, State
from convoy.service.serving.versions import Wish

MAX_BATCH_SIZE = 1024
"""Largest batch that a request to load may ask for; as in the server's settings."""

_CHANGEABLE = frozenset({"version_policy", "max_batch_size"})


async def index(
    control: ModelControl, request: pb.RepositoryIndexRequest
) -> pb.RepositoryIndexResponse:
    """List the versions of the repository, and the state of each."""
    return pb.RepositoryIndexResponse(
        models=[
            pb.RepositoryIndexResponse.ModelIndex(
                name=found.name,
                version=str(found.version),
                state=found.state.value if found.state else "",
                reason=found.reason,
            )
            for found in await control.index()
            if found.state is State.READY or not request.ready
        ]
    )


async def load(
    control: ModelControl, registry: ModelRegistry, request: pb.RepositoryModelLoadRequest
) -> pb.RepositoryModelLoadResponse:
    """
    Load a model, or load it anew.

    Raises:
        InvalidArgumentError: If a parameter is wrong, or asks for what cannot be changed.
        UnsupportedError: If the request carries files.
        ServiceError: As `ModelControl.load`.
    """
    name = request.model_name or request.repository_name
    wish = None
    for key, value in request.parameters.items():
        if key.startswith("file:"):
            raise UnsupportedError("files of a model come from the repository, not from requests")
        if key != "config":
            raise InvalidArgumentError(f"unknown parameter {key[:64]!r}")
        wish = _wish(value.string_param, name, control, registry)
    await control.load(name, wish)
    return pb.RepositoryModelLoadResponse(model_name=name, is_loaded=True)


async def unload(
    control: ModelControl, request: pb.RepositoryModelUnloadRequest
) -> pb.RepositoryModelUnloadResponse:
    """
    Unload a model; returns when its last request is answered.

    Raises:
        ServiceError: As `ModelControl.unload`.
    """
    name = request.model_name or request.repository_name
    await control.unload(name)
    return pb.RepositoryModelUnloadResponse(model_name=name, is_unloaded=True)


def _wish(text: str, name: str, control: ModelControl, registry: ModelRegistry) -> Wish:
    """Read a configuration; what it says beside that which can be changed must be so already."""
    asked = pb.ModelConfig()
    if not text.lstrip().startswith("{"):  # protobuf takes an empty list for an empty object
        raise InvalidArgumentError("config is no ModelConfig in JSON: it is no object")
    try:
        json_format.Parse(text, asked)
    except json_format.ParseError as error:
        raise InvalidArgumentError(f"config is no ModelConfig in JSON: {error}") from error
    _check_unchanged(asked, name, control, registry)
    if not 0 <= asked.max_batch_size <= MAX_BATCH_SIZE:
        raise InvalidArgumentError(f"max_batch_size must be in [1, {MAX_BATCH_SIZE}]")
    return Wish(_policy(asked.version_policy, control.wish(name).policy), asked.max_batch_size)


def _check_unchanged(
    asked: pb.ModelConfig, name: str, control: ModelControl, registry: ModelRegistry
) -> None:
    try:
        current = description.config(registry.get(name), control.wish(name).policy)
    except ServiceError:  # it is not loaded
        current = pb.ModelConfig(name=name)
    for field, value in asked.ListFields():
        if field.name not in _CHANGEABLE and value != getattr(current, field.name):
            raise InvalidArgumentError(
                f"config changes {field.name}: only {', '.join(sorted(_CHANGEABLE))} can be changed"
            )


def _policy(asked: pb.ModelVersionPolicy, usual: VersionPolicy) -> VersionPolicy:
    kind = asked.WhichOneof("policy_choice")
    if kind == "latest":
        return VersionPolicy(latest=max(1, asked.latest.num_versions))
    if kind == "specific":
        return VersionPolicy(specific=tuple(asked.specific.versions))
    return VersionPolicy() if kind == "all" else usual
