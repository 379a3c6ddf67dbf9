"""Sessions on the CPU by OpenVINO, which computes float32 layers in bfloat16 if it is told to.

Two packages bring it: `onnxruntime-openvino`, an ONNX Runtime with OpenVINO built in, and
`onnxruntime-ep-openvino`, a plugin for the usual one, which lists the processors that it serves.

ONNX Runtime silently falls back to its own kernels unless a session is opened as in
`open_with_openvino`: an option that OpenVINO rejects is only a warning on stderr. OpenVINO itself
silently computes in another format than it is told to if the processor lacks it.
"""

from __future__ import annotations

import functools
import json
from importlib.util import find_spec

import onnxruntime

from convoy.artifact.files import Artifact
from convoy.artifact.golden import TOLERANCES
from convoy.service.errors import ModelLoadError
from convoy.service.machine.resources import BF16_FEATURES, has_bf16, processor_name
from convoy.service.runtime.cpu import CpuRunner
from convoy.service.runtime.device import CpuRun
from convoy.service.runtime.proof import prove
from convoy.service.runtime.runs import OPENVINO, Provider, open_session, session_options

PLUGIN = "onnxruntime_ep_openvino"
"""The module of the plugin."""

HINTS = {"float32": "f32", "bf16": "bf16"}
"""OpenVINO's names of number formats."""


def has_openvino() -> bool:
    """Return whether OpenVINO is installed and serves this processor."""
    return _is_built_in() or _plugin_device() is not None


def open_with_openvino(artifact: Artifact, run: CpuRun, runs_at_once: int) -> CpuRunner:
    """
    Open the whole graph with OpenVINO, and prove it.

    Args:
        runs_at_once: The most runs at the same time, of `run.threads` threads each.

    Raises:
        ModelLoadError: If OpenVINO, or what the processor needs for it, is not there, or the graph
            cannot be opened or run.
        GoldenDriftError: If its answers drift from the golden ones.
    """
    if run.precision == "bf16" and not has_bf16():
        raise ModelLoadError(
            f"{processor_name()} has no instructions for bf16 "
            f"({' or '.join(sorted(BF16_FEATURES))}): use --cpu-precision float32"
        )
    options = session_options()
    # Otherwise, ONNX Runtime silently runs what OpenVINO does not take.
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    providers = _add_openvino(options, _config(run, runs_at_once))
    try:
        session = open_session(artifact.model_path, options, providers, enable_fallback=0)
    except ModelLoadError as error:
        raise ModelLoadError(f"OpenVINO cannot run the whole model: {error}") from error
    session.disable_fallback()
    if session.get_providers()[0] != OPENVINO:
        raise ModelLoadError("OpenVINO could not be loaded; see ONNX Runtime's messages above")
    runner = CpuRunner(session, artifact)
    prove(runner, artifact, max(artifact.manifest.golden_tolerance, TOLERANCES[run.precision]))
    return runner


def _config(run: CpuRun, runs_at_once: int) -> str:
    """Return the properties of OpenVINO's plugin for processors, as JSON."""
    properties = {
        # Unless it is told, it chooses bf16 where the processor has it.
        "INFERENCE_PRECISION_HINT": HINTS[run.precision],
        # A stream is a run at a time.
        "NUM_STREAMS": runs_at_once,
        "INFERENCE_NUM_THREADS": runs_at_once * run.threads,
        # Each model would pin its threads to the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    return json.dumps({"CPU": properties})


def _add_openvino(options: onnxruntime.SessionOptions, config: str) -> list[Provider]:
    """
    Return the provider of a session, or add that of the plugin to its options.

    Raises:
        ModelLoadError: If there is none, or it does not serve this processor.
    """
    if _is_built_in():
        return [(OPENVINO, {"device_type": "CPU", "load_config": config})]
    if device := _plugin_device():
        options.add_provider_for_devices([device], {"load_config": config})
        return []
    if find_spec(PLUGIN):
        raise ModelLoadError(
            f"onnxruntime-ep-openvino does not serve this processor, {processor_name()}: install "
            "the extra openvino in place of cpu"
        )
    raise ModelLoadError("OpenVINO is not installed: install the extra openvino in place of cpu")


def _is_built_in() -> bool:
    return OPENVINO in onnxruntime.get_available_providers()


@functools.cache  # ONNX Runtime accepts a library once
def _plugin_device() -> onnxruntime.OrtEpDevice | None:
    """Return the processor as the plugin lists it; None if it does not, or is not installed."""
    try:
        import onnxruntime_ep_openvino as plugin
    except ImportError:
        return None
    onnxruntime.register_execution_provider_library(OPENVINO, plugin.get_library_path())
    listed = onnxruntime.get_ep_devices()
    return next(
        (
            one
            for one in listed
            if one.ep_name == plugin.get_ep_name() and one.ep_metadata.get("ov_device") == "CPU"
        ),
        None,
    )
