"""The memory that an ONNX graph takes. Needs no PyTorch."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
import onnxruntime

from convoy.artifact.manifest import Memory
from convoy.export.errors import GraphError, ScratchError
from convoy.export.onnx.scratch import scratch_folder
from convoy.export.onnx.session import open_session
from convoy.export.onnx.source import tensor_bytes, tensors


def measure_memory(model: Path, images: npt.NDArray[Any]) -> Memory:
    """
    Run *images* once in a throw-away session and read what its CPU allocator used.

    ONNX Runtime reports it only in its profile: per node, the bytes of the arena in use and the
    peak so far. The bytes in use before the first node are subtracted: they are the weights,
    except those packed for the processor, which lie elsewhere.

    Raises:
        GraphError: If ONNX Runtime refuses the graph, or does not report its memory.
        ScratchError: If its report cannot be written to the disk.
    """
    with scratch_folder() as folder:
        session = open_session(model, profile=folder / "profile")
        session.run(None, {session.get_inputs()[0].name: images})
        profile = Path(session.end_profiling()).read_text()
    try:
        events: list[dict[str, Any]] = json.loads(profile)
    except ValueError as error:  # ONNX Runtime does not say that the disk is full
        raise ScratchError(
            f"ONNX Runtime's profile in {tempfile.gettempdir()} is cut off: {error}; make room, or "
            "set TMPDIR to another disk"
        ) from error
    nodes = [event["args"] for event in events if "mem_in_use_peak" in event["args"]]
    if not nodes:  # so does the older one of the extra openvino
        raise GraphError(
            f"ONNX Runtime {onnxruntime.__version__} does not report its memory: make models in an "
            "environment with the extra cpu"
        )
    # The weights are in the arena before the first node runs.
    before = int(nodes[0]["mem_bytes_in_use"]) - int(nodes[0]["mem_in_use_delta"])
    return Memory(
        batch_size=len(images),
        weights_bytes=sum(map(tensor_bytes, tensors(onnx.load(model).graph))),
        arena_peak_bytes=max(int(node["mem_in_use_peak"]) for node in nodes) - before,
    )
