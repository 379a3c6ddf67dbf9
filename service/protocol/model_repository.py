"""The model repository's rpcs: list, load and unload models, as Triton and KServe define them."""

from __future__ import annotations

import json
import re

from google.protobuf import json_format

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.errors import (
    ArtifactInvalidError,
    InvalidArgumentError,
    ServiceError,
    UnsupportedError,
)
from convoy.service.protocol import description
from convoy.service.protocol.shadow_control import DEFAULT_SHARE, shadow_spec
from convoy.service.serving.control import ModelControl
from convoy.service.serving.policy import VersionPolicy
from convoy.service.serving.registry import (
    ModelRegistry,
    ServingSpec,
    ShadowSpec,
    State,
    VersionEntry,
)

MAX_BATCH_SIZE = 1024
"""Largest `max_batch_size` that a load request may set; the same as in the server's settings."""

_INVALID = ArtifactInvalidError.reason

_CHANGEABLE = frozenset({"version_policy", "max_batch_size"})

_EXAMPLE = json.dumps(
    {"parameters": {"config": json.dumps({"version_policy": {"specific": {"versions": [1]}}})}}
)
"""The form of a load request with a configuration, for messages."""

_PARSE_ERROR_LENGTH = 500

_VERSION = re.compile(r"[0-9]{1,19}")

_ONE_REPOSITORY = "the server has one repository, without a name: leave repository_name empty"


async def index(
    control: ModelControl, request: pb.RepositoryIndexRequest
) -> pb.RepositoryIndexResponse:
    """
    List the versions of the repository, the state of each, and folders that are not served.

    Raises:
        UnsupportedError: If the request names a repository.
        ServiceError: As `ModelControl.index`.
    """
    if request.repository_name:
        raise UnsupportedError(_ONE_REPOSITORY)
    versions, misnamed = await control.index()
    models = [
        _entry(found.name, str(found.number), found.state, _reason(found))
        for found in versions
        if found.state is State.READY or not request.ready
    ]
    if not request.ready:
        models += [
            _entry(one.model, one.version, State.UNAVAILABLE, f"{_INVALID}: {one.reason}")
            for one in misnamed
        ]
    return pb.RepositoryIndexResponse(models=models)


async def load(
    control: ModelControl, registry: ModelRegistry, request: pb.RepositoryModelLoadRequest
) -> pb.RepositoryModelLoadResponse:
    """
    Load a model, or load it again.

    Raises:
        InvalidArgumentError: If a parameter is invalid, or changes a field that cannot be changed.
        UnsupportedError: If the request names a repository, or carries files.
        ServiceError: As `ModelControl.load`.
    """
    name = _model_name(request)
    spec = None
    for key, value in request.parameters.items():
        if key.startswith("file:"):
            raise UnsupportedError("a load request cannot send files: add them to the repository")
        if key != "config":
            raise InvalidArgumentError(
                f"unknown parameter {key[:64]!r}: a load request accepts only config"
            )
        if value.WhichOneof("parameter_choice") != "string_param":
            raise InvalidArgumentError(f"config must be a string: {_EXAMPLE}")
        spec = _spec(value.string_param, name, control, registry)
    await control.load(name, spec)
    return pb.RepositoryModelLoadResponse(model_name=name, is_loaded=True)


async def unload(
    control: ModelControl, request: pb.RepositoryModelUnloadRequest
) -> pb.RepositoryModelUnloadResponse:
    """
    Unload a model; return when its last request is answered.

    Raises:
        InvalidArgumentError: If a parameter is unknown.
        UnsupportedError: If the request names a repository.
        ServiceError: As `ModelControl.unload`.
    """
    # No model depends on another: whether to unload dependents makes no difference.
    if unknown := sorted(request.parameters.keys() - {"unload_dependents"}):
        raise InvalidArgumentError(
            f"unknown parameter {unknown[0][:64]!r}: an unload request accepts only "
            "unload_dependents"
        )
    name = _model_name(request)
    await control.unload(name)
    return pb.RepositoryModelUnloadResponse(model_name=name, is_unloaded=True)


def _model_name(request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest) -> str:
    """Return the model's name, which KServe's clients send where Triton has the repository's."""
    if request.model_name and request.repository_name:
        raise UnsupportedError(_ONE_REPOSITORY)
    return request.model_name or request.repository_name


def _entry(
    name: str, version: str, state: State | None, reason: str
) -> pb.RepositoryIndexResponse.ModelIndex:
    return pb.RepositoryIndexResponse.ModelIndex(
        name=name, version=version, state=state.value if state else "", reason=reason
    )


def _reason(version: VersionEntry) -> str:
    """Join reason and message, for which the protocol has one field."""
    return f"{version.reason}: {version.message}" if version.message else version.reason


def _spec(text: str, name: str, control: ModelControl, registry: ModelRegistry) -> ServingSpec:
    """Read a configuration; fields that cannot be changed must have their current values."""
    config = pb.ModelConfig()
    if not text.lstrip().startswith("{"):  # protobuf accepts an empty list as an empty object
        raise InvalidArgumentError(f"config must be a JSON object (ModelConfig): {_EXAMPLE}")
    try:
        json_format.Parse(text, config)
    except json_format.ParseError as error:
        # It quotes names and values of any length, and has several lines.
        cause = " ".join(str(error)[:_PARSE_ERROR_LENGTH].split())
        raise InvalidArgumentError(f"config is not a ModelConfig: {cause}") from error
    shadow = _shadow(config)
    _check_unchanged(config, name, control, registry)
    if not 0 <= config.max_batch_size <= MAX_BATCH_SIZE:
        raise InvalidArgumentError(f"max_batch_size must be in [1, {MAX_BATCH_SIZE}]")
    policy = _policy(config.version_policy, control.spec(name).policy)
    if shadow and shadow.version in (policy.specific or ()):
        raise InvalidArgumentError(
            f"version_policy selects version {shadow.version}, which is to be a shadow; "
            "leave it out"
        )
    # Other policies select it, too: an older version would silently serve in its place.
    if shadow and policy.specific is None and shadow.version in registry.versions(name):
        raise InvalidArgumentError(
            f"version_policy {policy} selects version {shadow.version}, which is to be a shadow; "
            "list the versions that are to serve as specific ones"
        )
    return ServingSpec(policy, config.max_batch_size, shadow)


def _shadow(config: pb.ModelConfig) -> ShadowSpec | None:
    """Remove the shadow from the parameters of *config*, and return its spec."""
    version, share = (
        config.parameters.pop(name).string_value if name in config.parameters else ""
        for name in (description.SHADOW_VERSION, description.SHADOW_SHARE)
    )
    if not version and not share:
        return None
    try:
        # Python's int and float also accept signs, spaces, underscores and digits of any script.
        if not _VERSION.fullmatch(version) or not share.isascii():
            raise ValueError(version)
        return shadow_spec(int(version), float(share or DEFAULT_SHARE))
    except ValueError as error:
        raise InvalidArgumentError(
            f"{description.SHADOW_VERSION} is {version[:20]!r} and {description.SHADOW_SHARE} is "
            f"{share[:20]!r}; they must be an integer and a number"
        ) from error


def _check_unchanged(
    config: pb.ModelConfig, name: str, control: ModelControl, registry: ModelRegistry
) -> None:
    try:
        current = description.config(registry.get(name), ServingSpec(control.spec(name).policy))
    except ServiceError:  # a model that is not loaded has no configuration except its name
        current = pb.ModelConfig(name=name)
    # Clients send back the whole configuration that they read: equal fields are accepted.
    for field, value in config.ListFields():
        if field.name not in _CHANGEABLE and value != getattr(current, field.name):
            raise InvalidArgumentError(
                f"config changes {field.name}: only {', '.join(sorted(_CHANGEABLE))} and the "
                "parameters of a shadow can be changed"
            )


def _policy(message: pb.ModelVersionPolicy, default: VersionPolicy) -> VersionPolicy:
    kind = message.WhichOneof("policy_choice")
    if kind == "latest":  # Triton's default is one, protobuf's is none
        return VersionPolicy(latest=max(1, message.latest.num_versions))
    if kind == "specific":
        return VersionPolicy(specific=tuple(message.specific.versions))
    if kind == "all":
        return VersionPolicy()
    return default  # a configuration without a policy changes something else
