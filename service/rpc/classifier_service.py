"""`convoy.v1.ClassifierService`: encoded images in, most probable classes out."""

from __future__ import annotations

import asyncio

from google.rpc import code_pb2

from convoy.pb.convoy.v1 import classifier_pb2, classifier_pb2_grpc
from convoy.service.call import failure_of, find_model, responded
from convoy.service.errors import InvalidArgumentError
from convoy.service.rpc.unary import Context, deadline_of
from convoy.service.serving.inference import Inference, Terms
from convoy.service.serving.registry import ModelRegistry
from convoy.service.serving.served_model import ServedModel
from convoy.service.serving.top_k import Prediction, check_top_k
from convoy.service.serving.top_k import top_k as best_classes
from convoy.service.telemetry.metrics import Metrics


class ClassifierServicer(classifier_pb2_grpc.ClassifierServiceServicer):
    """Answers from *registry*; at most *max_images_per_call* in one batch call."""

    def __init__(
        self, registry: ModelRegistry, metrics: Metrics, *, max_images_per_call: int
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._max_images_per_call = max_images_per_call

    async def Classify(
        self, request: classifier_pb2.ClassifyRequest, context: Context
    ) -> classifier_pb2.ClassifyResponse:
        """Classify one image."""
        with _model(self._registry, request) as model:
            return await _classify(model, request.image, request.top_k, Terms(deadline_of(context)))

    async def ClassifyBatch(
        self, request: classifier_pb2.ClassifyBatchRequest, context: Context
    ) -> classifier_pb2.ClassifyBatchResponse:
        """Classify many images, each by itself: one that fails leaves the others alone."""
        count = len(request.images)
        terms = Terms(deadline_of(context))
        with _model(self._registry, request) as model:
            if not 1 <= count <= self._max_images_per_call:
                raise InvalidArgumentError(
                    f"the call holds {count} images; it must hold 1 to {self._max_images_per_call}"
                )
            model.check_room(count)
            outcomes = await asyncio.gather(
                *(self._outcome(model, image, request.top_k, terms) for image in request.images)
            )
        return classifier_pb2.ClassifyBatchResponse(outcomes=outcomes)

    async def ListModels(
        self, request: classifier_pb2.ListModelsRequest, context: Context
    ) -> classifier_pb2.ListModelsResponse:
        """List the models."""
        return classifier_pb2.ListModelsResponse(
            models=[_describe(model) for model in self._registry.models()]
        )

    async def _outcome(
        self, model: ServedModel, image: bytes, top_k: int, terms: Terms
    ) -> classifier_pb2.Outcome:
        try:
            response = await _classify(model, image, top_k, terms)
        except Exception as error:
            failure = failure_of(error)
            if failure.refused:
                self._metrics.refused(failure.reason, model.name)
            told = classifier_pb2.Error(
                code=code_pb2.Code.Value(failure.status),
                reason=failure.reason,
                message=failure.details,
            )
            return classifier_pb2.Outcome(error=told)
        return classifier_pb2.Outcome(response=response)


def _model(
    registry: ModelRegistry,
    request: classifier_pb2.ClassifyRequest | classifier_pb2.ClassifyBatchRequest,
) -> ServedModel:
    version = str(request.model_version) if request.model_version else ""
    model = find_model(registry, request.model, version)
    check_top_k(request.top_k)
    return model


async def _classify(
    model: ServedModel, image: bytes, top_k: int, terms: Terms
) -> classifier_pb2.ClassifyResponse:
    inference = await model.infer_images([image], terms)
    (predictions,) = best_classes(inference.outputs, model.manifest, top_k)
    response = _response(model, inference, predictions)
    response.timing.respond_us = round(responded(model, inference) * 1e6)
    return response


def _response(
    model: ServedModel, inference: Inference, predictions: list[Prediction]
) -> classifier_pb2.ClassifyResponse:
    return classifier_pb2.ClassifyResponse(
        predictions=[
            classifier_pb2.Prediction(
                class_index=prediction.class_index,
                label=prediction.label,
                probability=prediction.probability,
            )
            for prediction in predictions
        ],
        model=model.name,
        model_version=model.manifest.version,
        model_sha256=model.manifest.model_sha256,
        timing=classifier_pb2.Timing(
            decode_us=round(inference.decode_s * 1e6),
            queue_us=round(inference.queue_s * 1e6),
            inference_us=round(inference.inference_s * 1e6),
            batch_size=inference.batch_size,
        ),
    )


def _describe(model: ServedModel) -> classifier_pb2.Model:
    manifest = model.manifest
    return classifier_pb2.Model(
        name=manifest.name,
        version=manifest.version,
        architecture=manifest.architecture,
        sha256=manifest.model_sha256,
        labels=manifest.labels,
        class_count=len(manifest.labels),
        input_height_px=manifest.input.height,
        input_width_px=manifest.input.width,
        input_channel_count=manifest.input.channels,
        max_batch_size=model.max_batch_size,
        precision=manifest.precision,
        provider=model.session.provider,
        fallback_reason=model.session.fallback_reason,
    )
