"""`convoy.v1.ClassifierService`: encoded images in, most probable classes out."""

from __future__ import annotations

import asyncio

from google.rpc import code_pb2

from convoy.pb.convoy.v1 import classifier_pb2
from convoy.service.call import Call
from convoy.service.engine import Model, Models
from convoy.service.errors import InvalidArgumentError
from convoy.service.serving.top_k import check_top_k
from convoy.service.serving.top_k import top_k as best_classes


class ClassifierProtocol:
    """
    The rpcs of the service for *models*, for either transport.

    Each method takes the message and the record of the call, and raises a `ServiceError` if it
    fails.
    """

    def __init__(self, models: Models, *, max_images_per_call: int) -> None:
        self._models = models
        self._max_images_per_call = max_images_per_call

    async def Classify(
        self, request: classifier_pb2.ClassifyRequest, call: Call
    ) -> classifier_pb2.ClassifyResponse:
        model = self._find(call, request)
        return await _classify(call, model, request.image, request.top_k)

    async def ClassifyBatch(
        self, request: classifier_pb2.ClassifyBatchRequest, call: Call
    ) -> classifier_pb2.ClassifyBatchResponse:
        """Classify several images; the failure of one does not affect the others."""
        model, count = self._find(call, request), len(request.images)
        if not 1 <= count <= self._max_images_per_call:
            raise InvalidArgumentError(
                f"the call has {count} images; it must have 1 to {self._max_images_per_call}"
            )
        # All or none: otherwise a full queue would answer some images and refuse the rest.
        await model.check_room(count)
        # Each image is a request of its own, so that free cores share them.
        outcomes = await asyncio.gather(
            *(_outcome(call, model, image, request.top_k) for image in request.images)
        )
        return classifier_pb2.ClassifyBatchResponse(outcomes=outcomes)

    async def ListModels(
        self, request: classifier_pb2.ListModelsRequest, call: Call
    ) -> classifier_pb2.ListModelsResponse:
        return classifier_pb2.ListModelsResponse(
            models=[_describe(model) for model in self._models.models()]
        )

    def describe(self, call: Call, name: str, version: str = "") -> classifier_pb2.Model:
        """
        Describe one model, as `ListModels` does.

        Raises:
            ModelNotFoundError, ModelNotReadyError: As `Models.get`.
        """
        return _describe(self._models.find(call, name, version))

    def _find(
        self,
        call: Call,
        request: classifier_pb2.ClassifyRequest | classifier_pb2.ClassifyBatchRequest,
    ) -> Model:
        # 0, which is protobuf's value for an unset field, requests the newest version.
        version = str(request.model_version) if request.model_version else ""
        model = self._models.find(call, request.model, version)
        check_top_k(request.top_k)
        return model


async def _outcome(call: Call, model: Model, image: bytes, top_k: int) -> classifier_pb2.Outcome:
    """Classify one image of several; return its response or its error."""
    part = call.part()
    try:
        response = await _classify(part, model, image, top_k)
    except BaseException as error:
        failure = part.finish(error)
        if failure is None:  # cancelled, as the client has disconnected
            raise
    else:
        part.finish()
        return classifier_pb2.Outcome(response=response)
    return classifier_pb2.Outcome(
        error=classifier_pb2.Error(
            code=code_pb2.Code.Value(failure.status), reason=failure.reason, message=str(failure)
        )
    )


async def _classify(
    call: Call, model: Model, image: bytes, top_k: int
) -> classifier_pb2.ClassifyResponse:
    await model.infer_images(call, [image])
    (predictions,) = best_classes(call.outputs, model.manifest, top_k)
    response = classifier_pb2.ClassifyResponse(
        predictions=[
            classifier_pb2.Prediction(
                class_index=prediction.class_index,
                label=prediction.label,
                probability=prediction.probability,
            )
            for prediction in predictions
        ],
        model=model.name,
        model_version=model.version,
        model_sha256=model.manifest.model_sha256,
        timing=classifier_pb2.Timing(
            decode_us=round(call.decode_s * 1e6),
            queue_us=round(call.queue_s * 1e6),
            inference_us=round(call.inference_s * 1e6),
            batch_size=call.batch_size,
        ),
    )
    call.responded()
    response.timing.respond_us = round(call.respond_s * 1e6)
    return response


def _describe(model: Model) -> classifier_pb2.Model:
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
        precision=model.precision,
        provider=model.provider,
        fallback_reason=model.fallback_reason,
        multi_label=manifest.is_multi_label,
    )
