"""The modules and functions of PyTorch, as layers of the table."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from torch import fx, nn

from convoy.artifact.layers import CONVOLUTION, LINEAR, Layer, Window
from convoy.export.describing.kinds import (
    WITH_CONSTANT,
    pooling,
    shapes_arithmetic,
    with_weights,
)

_Shape = tuple[int, ...]

_KINDS = {
    "avg_pool2d": "avg pool",
    "avgpool2d": "avg pool",
    "batchnorm1d": "bn",
    "batchnorm2d": "bn",
    "cat": "concat",
    "getitem": "slice",
    "iadd": "add",
    "imul": "multiply",
    "local_response_norm": "lrn",
    "localresponsenorm": "lrn",
    "max_pool2d": "max pool",
    "maxpool2d": "max pool",
    "mul": "multiply",
    "reshape": "flatten",
    "view": "flatten",
    "zeropad2d": "pad",
}
"""Kinds of classes and functions, by their names in lower case; all others keep their names."""


def of_module(plain: Layer, module: nn.Module, before: _Shape) -> Layer | None:
    """
    Return the layer of a *module* that torch.fx does not trace; None if it changes nothing.

    Args:
        plain: The layer's name, inputs and output.
        before: Shape of its first input.
    """
    weights = list(module.parameters())
    layer = replace(
        plain,
        kind=_kind(type(module).__name__),
        parameters=sum(weight.numel() for weight in weights),
        arithmetic=shapes_arithmetic([weight.shape for weight in weights]),
    )
    match module:
        case nn.Identity():
            return None
        case nn.Conv2d():
            return _convolution(layer, module)
        case nn.Linear():
            return _linear(layer, module)
        case nn.MaxPool2d() | nn.AvgPool2d():
            window = _window(module.kernel_size, module.stride, module.padding)
            return replace(layer, window=window)
        case nn.AdaptiveAvgPool2d():
            return pooling(layer, "avg pool", before)
        case nn.AdaptiveMaxPool2d():
            return pooling(layer, "max pool", before)
    return layer


def of_function(plain: Layer, node: fx.Node, before: _Shape) -> Layer | None:
    """
    Return the layer of a function or method; None if it changes nothing.

    Args:
        plain: The layer's inputs and output, and the module that calls it, as its name.
        before: Shape of its first input.
    """
    function = node.target if isinstance(node.target, str) else node.target.__name__
    kind = _kind(function)
    # One input: the other operand is a constant.
    if len(plain.inputs) == 1:
        kind = WITH_CONSTANT.get(kind, kind)
    name = f"{plain.name}.{kind}".lstrip(".").replace(" ", "_")
    layer = replace(plain, kind=kind, name=name)
    match kind:
        case "max pool" | "avg pool":
            names = ("kernel_size", "stride", "padding")
            values = dict(zip(names, node.args[1:], strict=False)) | node.kwargs
            window = _window(*(values.get(name) for name in names))
            return replace(layer, window=window)
        case "adaptive_avg_pool2d":
            return pooling(layer, "avg pool", before)
        case "adaptive_max_pool2d":
            return pooling(layer, "max pool", before)
        # A mean over channels or features is not pooling.
        case "mean" if len(before) == 3 and math.prod(layer.output_shape) == before[0]:
            return pooling(layer, "avg pool", before)
        case "slice":
            return replace(layer, window=_every_nth(node.args[1]))
    return layer


def _kind(name: str) -> str:
    name = name.lower().rstrip("_")
    return _KINDS.get(name, name)


def _convolution(layer: Layer, module: nn.Conv2d) -> Layer:
    kernel, dilation = _pair(module.kernel_size), _pair(module.dilation)
    # Padding by name: `same` is the padding on the upper and left side, `valid` is none.
    if isinstance(module.padding, str):
        same = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
        padding = same if module.padding == "same" else (0, 0)
    else:
        padding = _pair(module.padding)
    layer = replace(
        layer,
        kind=CONVOLUTION,
        window=Window(kernel, _pair(module.stride), padding, dilation),
    )
    return with_weights(
        layer,
        window=kernel,
        channels=module.in_channels,
        outputs=module.out_channels,
        groups=module.groups,
        has_bias=module.bias is not None,
        positions=math.prod(layer.output_shape[1:]),
    )


def _linear(layer: Layer, module: nn.Linear) -> Layer:
    return with_weights(
        replace(layer, kind=LINEAR),
        window=(),
        channels=module.in_features,
        outputs=module.out_features,
        has_bias=module.bias is not None,
        positions=math.prod(layer.output_shape[:-1]),
    )


def _window(kernel: Any, stride: Any, padding: Any) -> Window:
    """Return the window of a pooling; its stride is its size if none is given."""
    return Window(_pair(kernel), _pair(stride or kernel), _pair(padding or 0))


def _every_nth(index: Any) -> Window | None:
    """Return the stride of `x[:, :, ::2, ::2]`; None if nothing is skipped."""
    parts = index[2:4] if isinstance(index, tuple) else ()
    steps = tuple((part.step or 1) if isinstance(part, slice) else 1 for part in parts)
    return Window((1, 1), steps) if len(steps) == 2 and max(steps) > 1 else None


def _pair(value: Any) -> tuple[int, int]:
    """Return *value* along height and width."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])
