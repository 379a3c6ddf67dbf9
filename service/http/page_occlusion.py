"""The reasons for an answer, for the page: which parts of the image the classes depend on."""

from __future__ import annotations

import time

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from convoy.service.call import Call, Calls
from convoy.service.http.body import BodyReader, while_connected
from convoy.service.http.endpoints import target
from convoy.service.http.page_runs import run_last
from convoy.service.serving.occlusion import Places
from convoy.service.serving.registry import ModelRegistry
from convoy.service.serving.served_model import ServedModel
from convoy.service.serving.top_k import probabilities, top_k


class PageOcclusion:
    """
    The endpoint.

    Args:
        read_body: Reads the body of a request.
    """

    def __init__(self, registry: ModelRegistry, calls: Calls, *, read_body: BodyReader) -> None:
        self._registry = registry
        self._calls = calls
        self._read_body = read_body

    async def answer(self, request: Request, call: Call) -> Response:
        """
        Answer with the best classes, and with the fall of each one's probability at each place.

        Falls are listed by class, row and column.
        """
        model = self._registry.find(call, **target(request))
        image = await self._read_body(request, call)
        return await while_connected(request, self._explain(model, image, call))

    async def _explain(self, model: ServedModel, image: bytes, whole: Call) -> Response:
        started = time.monotonic()
        pixels = await model.decode(whole, [image])
        (best,) = top_k(await run_last(self._calls, model, pixels, whole), model.manifest, 0)
        classes = [prediction.class_index for prediction in best]
        before = np.array([prediction.probability for prediction in best])
        places = Places.of(model.manifest.input)
        after = [
            probabilities(await run_last(self._calls, model, batch, whole), model.manifest)[
                :, classes
            ]
            for batch in places.hide(pixels, model.manifest.input, model.max_batch_size)
        ]
        falls = (before - np.concatenate(after)).T
        shape = (len(classes), len(places.rows), len(places.columns))
        return JSONResponse(
            {
                "predictions": [prediction._asdict() for prediction in best],
                "falls": falls.reshape(shape).round(6).tolist(),
                "patch": places.patch,
                "rows": places.rows,
                "columns": places.columns,
                "images": 1 + len(places),
                "seconds": time.monotonic() - started,
            }
        )
