"""What a network costs: parameters, multiply-accumulates, memory, accuracy."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from artifact.manifest import Memory


def count_parameters(network: nn.Module) -> int:
    """Numbers that training fits."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """
    Multiply-accumulates of convolutions and linear layers for one image of *shape* `(C, H, W)`.

    Bias, normalisation, pooling and activation are left out, as in torchvision's published
    figures.
    """
    total = 0

    def add(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.Linear)
        total += output[0].numel() * module.weight[0].numel()

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    try:
        with torch.inference_mode():
            network(torch.zeros(1, *shape))
    finally:
        for hook in hooks:
            hook.remove()
    return total


def measure_memory(model: Path, images: npt.NDArray[Any]) -> Memory:
    """
    Run *images* once in a throw-away session and read what its CPU allocator used.

    ONNX Runtime tells it only in the profile it writes: per node, `mem_in_use_peak` of the arena.
    The weights lie in the arena, too, and are taken off.
    """
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        session.run(None, {session.get_inputs()[0].name: images})
        events = json.loads(Path(session.end_profiling()).read_text())
    peaks = [int(e["args"]["mem_in_use_peak"]) for e in events if "mem_in_use_peak" in e["args"]]
    weights = _weights_bytes(model)
    return Memory(
        batch_size=len(images),
        weights_bytes=weights,
        arena_peak_bytes=max(0, max(peaks) - weights),
    )


def accuracy(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], top: int) -> float:
    """Share of images whose label is among the *top* largest logits."""
    best = np.argsort(-logits, axis=1)[:, :top]
    return float((best == labels[:, None]).any(axis=1).mean())


def _weights_bytes(model: Path) -> int:
    """Sum of the graph's initialisers."""
    graph = onnx.load(model).graph
    return sum(
        math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in graph.initializer
    )
