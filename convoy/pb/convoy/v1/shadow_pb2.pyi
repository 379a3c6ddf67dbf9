from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Shadow(_message.Message):
    __slots__ = ("model", "version", "serving_version", "share", "agreement", "failures", "probability_change", "largest_probability_change", "kl_divergence", "run_p50_seconds", "run_p99_seconds", "serving_run_p50_seconds", "serving_run_p99_seconds", "dropped_image_count")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVING_VERSION_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_CHANGE_FIELD_NUMBER: _ClassVar[int]
    LARGEST_PROBABILITY_CHANGE_FIELD_NUMBER: _ClassVar[int]
    KL_DIVERGENCE_FIELD_NUMBER: _ClassVar[int]
    RUN_P50_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RUN_P99_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SERVING_RUN_P50_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SERVING_RUN_P99_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_IMAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    serving_version: int
    share: float
    agreement: Estimate
    failures: Estimate
    probability_change: Estimate
    largest_probability_change: float
    kl_divergence: Estimate
    run_p50_seconds: Estimate
    run_p99_seconds: Estimate
    serving_run_p50_seconds: Estimate
    serving_run_p99_seconds: Estimate
    dropped_image_count: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., serving_version: _Optional[int] = ..., share: _Optional[float] = ..., agreement: _Optional[_Union[Estimate, _Mapping]] = ..., failures: _Optional[_Union[Estimate, _Mapping]] = ..., probability_change: _Optional[_Union[Estimate, _Mapping]] = ..., largest_probability_change: _Optional[float] = ..., kl_divergence: _Optional[_Union[Estimate, _Mapping]] = ..., run_p50_seconds: _Optional[_Union[Estimate, _Mapping]] = ..., run_p99_seconds: _Optional[_Union[Estimate, _Mapping]] = ..., serving_run_p50_seconds: _Optional[_Union[Estimate, _Mapping]] = ..., serving_run_p99_seconds: _Optional[_Union[Estimate, _Mapping]] = ..., dropped_image_count: _Optional[int] = ...) -> None: ...

class Estimate(_message.Message):
    __slots__ = ("value", "low", "high", "count")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    value: float
    low: float
    high: float
    count: int
    def __init__(self, value: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., count: _Optional[int] = ...) -> None: ...

class StartShadowRequest(_message.Message):
    __slots__ = ("model", "version", "share")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    share: float
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., share: _Optional[float] = ...) -> None: ...

class StartShadowResponse(_message.Message):
    __slots__ = ("shadow",)
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    shadow: Shadow
    def __init__(self, shadow: _Optional[_Union[Shadow, _Mapping]] = ...) -> None: ...

class StopShadowRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class StopShadowResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetShadowRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetShadowResponse(_message.Message):
    __slots__ = ("shadow",)
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    shadow: Shadow
    def __init__(self, shadow: _Optional[_Union[Shadow, _Mapping]] = ...) -> None: ...

class PromoteShadowRequest(_message.Message):
    __slots__ = ("model", "version", "min_images", "min_agreement", "max_failures", "max_p99_ratio")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MIN_IMAGES_FIELD_NUMBER: _ClassVar[int]
    MIN_AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILURES_FIELD_NUMBER: _ClassVar[int]
    MAX_P99_RATIO_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    min_images: int
    min_agreement: float
    max_failures: float
    max_p99_ratio: float
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., min_images: _Optional[int] = ..., min_agreement: _Optional[float] = ..., max_failures: _Optional[float] = ..., max_p99_ratio: _Optional[float] = ...) -> None: ...

class PromoteShadowResponse(_message.Message):
    __slots__ = ("shadow",)
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    shadow: Shadow
    def __init__(self, shadow: _Optional[_Union[Shadow, _Mapping]] = ...) -> None: ...
