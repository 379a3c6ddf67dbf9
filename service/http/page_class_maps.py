"""Class activation maps for the page, which explain the answer to an image."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from convoy.service.call import Call, Calls
from convoy.service.http.body import BodyReader, while_connected
from convoy.service.http.endpoints import target
from convoy.service.http.page_runs import run_last
from convoy.service.serving.class_map_finder import ClassMapFinder
from convoy.service.serving.registry import ModelRegistry
from convoy.service.serving.served_model import ServedModel
from convoy.service.serving.top_k import top_k


class PageClassMaps:
    """
    The endpoint that explains an answer by class activation maps.

    Args:
        finder: Computes the maps.
        read_body: Reads the body of a request.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        calls: Calls,
        finder: ClassMapFinder,
        *,
        read_body: BodyReader,
    ) -> None:
        self._registry = registry
        self._calls = calls
        self._finder = finder
        self._read_body = read_body

    async def answer(self, request: Request, call: Call) -> Response:
        """
        Answer with the most probable classes, and the map, the bias and the score of each.

        `maps` is `[classes, rows, columns]`, `biases` and `scores` are `[classes]`. The mean of a
        map plus its bias is the score.

        Raises:
            UnsupportedError: If the model has no class activation maps.
            MemoryBudgetError: If the graph does not fit into the memory budget a second time.
        """
        model = self._registry.find(call, **target(request))
        self._finder.check(model)
        image = await self._read_body(request, call)
        return await while_connected(request, self._explain(model, image, call))

    async def _explain(self, model: ServedModel, image: bytes, whole: Call) -> Response:
        started = time.monotonic()
        pixels = await model.decode(whole, [image])
        outputs = await run_last(self._calls, model, pixels, whole)
        (best,) = top_k(outputs, model.manifest, 0)
        found = await self._finder.find(model, pixels, [one.class_index for one in best])
        return JSONResponse(
            {
                "predictions": [prediction._asdict() for prediction in best],
                "maps": found.maps.tolist(),
                "biases": found.biases.tolist(),
                "scores": found.scores.tolist(),
                "images": 2,  # one run finds the classes, another computes their maps
                "seconds": time.monotonic() - started,
            }
        )
