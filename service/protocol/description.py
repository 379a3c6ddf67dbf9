"""The metadata of the server, and the metadata and configuration of each model."""

from __future__ import annotations

from convoy.artifact.files import MODEL_FILE
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.call import DEFAULT_PRIORITY, PRIORITIES
from convoy.service.protocol.tensors import DATATYPES
from convoy.service.serving.policy import VersionPolicy
from convoy.service.serving.registry import ServingSpec
from convoy.service.serving.served_model import ServedModel

SERVER_NAME = "convoy"

EXTENSIONS = (
    "classification",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "logging",
)
"""Triton's names of the extensions that the server supports."""

SHADOW_VERSION = "shadow_version"
SHADOW_SHARE = "shadow_share"
"""Parameters of a configuration: the version of the shadow, and its share of requests."""

PLATFORM = "onnx_onnxv1"
"""The protocol's name for ONNX models."""

TRITON_PLATFORM = "onnxruntime_onnx"
TRITON_BACKEND = "onnxruntime"

_KINDS = {True: pb.ModelInstanceGroup.KIND_GPU, False: pb.ModelInstanceGroup.KIND_CPU}
_FORMATS = {"NHWC": pb.ModelInput.FORMAT_NHWC, "NCHW": pb.ModelInput.FORMAT_NCHW}


def metadata(model: ServedModel, versions: list[int]) -> pb.ModelMetadataResponse:
    """Describe the tensors of *model*, of which *versions* are ready."""
    manifest = model.manifest
    tensor = pb.ModelMetadataResponse.TensorMetadata
    # -1 is the protocol's value for a dimension of any size.
    batch = 1 if model.session.one_by_one else -1
    return pb.ModelMetadataResponse(
        name=manifest.name,
        versions=[str(version) for version in sorted(versions)],
        platform=PLATFORM,
        inputs=[
            tensor(
                name=manifest.input.name,
                datatype=DATATYPES[manifest.input.dtype],
                shape=[batch, *manifest.input.item_shape],
            )
        ],
        outputs=[
            tensor(
                name=output.name,
                datatype=DATATYPES[output.dtype],
                shape=[batch, *manifest.item_shape(output)],
            )
            for output in manifest.outputs
        ],
        properties=_facts(model),
    )


def config(model: ServedModel, spec: ServingSpec) -> pb.ModelConfig:
    """Return Triton's configuration of *model*, which is served as *spec* states."""
    manifest = model.manifest
    return pb.ModelConfig(
        name=manifest.name,
        platform=TRITON_PLATFORM,
        backend=TRITON_BACKEND,
        version_policy=version_policy(spec.policy),
        max_batch_size=model.max_batch_size,
        input=[
            pb.ModelInput(
                name=manifest.input.name,
                data_type=_data_type(manifest.input.dtype),
                format=_FORMATS[manifest.input.layout],
                dims=manifest.input.item_shape,
            )
        ],
        output=[
            pb.ModelOutput(
                name=output.name,
                data_type=_data_type(output.dtype),
                dims=manifest.item_shape(output),
            )
            for output in manifest.outputs
        ],
        instance_group=[_instances(model)],
        default_model_filename=MODEL_FILE,
        dynamic_batching=_batching(model),
        parameters={
            key: pb.ModelParameter(string_value=value)
            for key, value in (_facts(model) | _shadow(spec)).items()
        },
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
    )


def version_policy(policy: VersionPolicy) -> pb.ModelVersionPolicy:
    """Convert a version policy to the protocol's message."""
    kinds = pb.ModelVersionPolicy
    if policy.latest is not None:
        return kinds(latest=kinds.Latest(num_versions=policy.latest))
    if policy.specific is not None:
        return kinds(specific=kinds.Specific(versions=policy.specific))
    return kinds(all=kinds.All())


def _facts(model: ServedModel) -> dict[str, str]:
    manifest = model.manifest
    return {
        "architecture": manifest.architecture,
        "precision": model.precision,
        "scores": (manifest.probabilities or manifest.scores).kind,
        "provider": model.provider,
        "sha256": manifest.model_sha256,
    }


def _shadow(spec: ServingSpec) -> dict[str, str]:
    if spec.shadow is None:
        return {}
    return {SHADOW_VERSION: str(spec.shadow.version), SHADOW_SHARE: f"{spec.shadow.share:g}"}


def _data_type(dtype: str) -> str:
    return f"TYPE_{DATATYPES[dtype]}"


def _instances(model: ServedModel) -> pb.ModelInstanceGroup:
    on_gpu = model.session.on_gpu
    return pb.ModelInstanceGroup(
        name=f"{model.name}_0", kind=_KINDS[on_gpu], count=1, gpus=[0] if on_gpu else []
    )


def _batching(model: ServedModel) -> pb.ModelDynamicBatching:
    # Refusal is the only action that the queue takes at its limit or at a deadline.
    return pb.ModelDynamicBatching(
        max_queue_delay_microseconds=round(model.policy.max_queue_delay_s * 1e6),
        priority_levels=len(PRIORITIES),
        default_priority_level=DEFAULT_PRIORITY,
        default_queue_policy=pb.ModelQueuePolicy(
            timeout_action=pb.ModelQueuePolicy.REJECT,
            allow_timeout_override=True,
            max_queue_size=model.policy.max_queue_size,
        ),
    )
