"""ONNX Runtime sessions of export and import: the CPU, and one text for every failure."""

from __future__ import annotations

import re
from pathlib import Path

import onnxruntime

from convoy.export.errors import GraphError

_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PLACE = re.compile(r"/onnxruntime_src/\S+ [^)]*\) ")
_LONGEST = 500


def open_session(
    model: Path | bytes,
    *,
    is_optimised: bool = True,
    profile: Path | None = None,
    name: Path | None = None,
) -> onnxruntime.InferenceSession:
    """
    Open *model* on the CPU.

    Args:
        model: The file, or its bytes.
        is_optimised: Apply ONNX Runtime's default optimisations; else run the graph literally.
        profile: Prefix of a file to write a profile to; `end_profiling` writes it.
        name: The file that messages name, where *model* is a copy of it.

    Raises:
        GraphError: If ONNX Runtime refuses the graph: it is damaged, or too new.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal: its errors are raised as well
    if not is_optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    try:
        # The fallback would print to the screen and repeat the same attempt.
        return onnxruntime.InferenceSession(
            model, options, ["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's errors share no base class
        message = one_line(error)
        if name:
            message = message.replace(str(model), str(name))
        raise GraphError(f"ONNX Runtime {onnxruntime.__version__}: {message}") from error


def one_line(error: Exception) -> str:
    """
    Return the message of *error* as one line.

    ONNX adds a dump of the node to its messages; ONNX Runtime adds a code and the place in its
    own source. Both are removed.
    """
    text = " ".join(str(error).partition("==> Context")[0].split())
    text = _CODE.sub("", _PLACE.sub("", text)).rstrip(".")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
