"""`convoy.v1.ShadowService`: shadows of models, and their promotion."""

from __future__ import annotations

from convoy.pb.convoy.v1 import shadow_pb2 as pb
from convoy.service.call import Call
from convoy.service.errors import InvalidArgumentError
from convoy.service.serving.control import ModelControl
from convoy.service.serving.registry import ShadowSpec
from convoy.service.serving.shadows.bounds import Bounds
from convoy.service.serving.shadows.shadow import Shadow
from convoy.service.serving.shadows.shadows import Shadows

DEFAULT_SHARE = 0.1
"""Share of requests that a shadow gets unless the request to start it states another."""

_BOUNDS = ("min_images", "min_agreement", "max_failures", "max_p99_ratio")


class ShadowProtocol:
    """
    The rpcs of the service, for either transport.

    Each method takes the message and the record of the call, and raises a `ServiceError` if it
    fails.
    """

    def __init__(self, control: ModelControl, shadows: Shadows) -> None:
        self._control = control
        self._shadows = shadows

    async def StartShadow(
        self, request: pb.StartShadowRequest, call: Call
    ) -> pb.StartShadowResponse:
        """Load a version as the shadow of a model, or change its share."""
        share = request.share if request.HasField("share") else DEFAULT_SHARE
        spec = shadow_spec(request.version, share)
        await self._control.start_shadow(request.model, spec)
        return pb.StartShadowResponse(shadow=_shadow(self._shadows.find(request.model)))

    async def StopShadow(self, request: pb.StopShadowRequest, call: Call) -> pb.StopShadowResponse:
        """Unload the shadow of a model."""
        await self._control.stop_shadow(request.model)
        return pb.StopShadowResponse()

    async def GetShadow(self, request: pb.GetShadowRequest, call: Call) -> pb.GetShadowResponse:
        """Return the comparison of a shadow with the version that serves."""
        return pb.GetShadowResponse(shadow=_shadow(self._shadows.find(request.model)))

    async def PromoteShadow(
        self, request: pb.PromoteShadowRequest, call: Call
    ) -> pb.PromoteShadowResponse:
        """Promote a shadow if it meets the bounds."""
        bounds = Bounds(
            **{name: getattr(request, name) for name in _BOUNDS if request.HasField(name)}
        )
        judged = await self._control.promote(request.model, request.version, bounds)
        return pb.PromoteShadowResponse(shadow=_shadow(judged))


def shadow_spec(version: int, share: float) -> ShadowSpec:
    """
    Return the spec of a shadow.

    Raises:
        InvalidArgumentError: If the version or the share is out of its range.
    """
    if version < 1:
        raise InvalidArgumentError(f"the version of a shadow is {version}; it must be at least 1")
    if not 0 < share <= 1:
        raise InvalidArgumentError(
            f"the share of a shadow is {share:g}; it must be above 0, and at most 1"
        )
    return ShadowSpec(version, share)


def _shadow(shadow: Shadow) -> pb.Shadow:
    comparison = shadow.comparison
    return pb.Shadow(
        model=shadow.model.name,
        version=shadow.model.version,
        serving_version=shadow.serving.version,
        share=shadow.share,
        largest_probability_change=comparison.largest_change,
        dropped_image_count=comparison.dropped,
        **{
            measure: pb.Estimate(
                value=found.value, low=found.low, high=found.high, count=found.count
            )
            for measure, found in comparison.estimates.items()
        },
    )
