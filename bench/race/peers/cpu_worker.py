"""Runs one network in one way, in batches, for as long as each line of its input says.

Prints images per second for each line. Knows nothing of convoy, so that it runs in the environment
of any runtime.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

BATCH_SIZE = 8
CALIBRATION_IMAGES = 32


def main() -> None:
    """Open the network, then measure whenever it is asked to."""
    model, provider, precision = sys.argv[1:]
    # What libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    images = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE, 224, 224, 3), np.uint8)
    run = {"onnxruntime": _onnxruntime, "openvino": _openvino, "nncf": _nncf}[provider](
        model, precision
    )
    run(images)
    for line in sys.stdin:
        started, count = time.perf_counter(), 0
        while count == 0 or time.perf_counter() - started < float(line):
            run(images)
            count += BATCH_SIZE
        print(count / (time.perf_counter() - started), file=answers, flush=True)


def _onnxruntime(model: str, precision: str) -> Callable[[Any], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"image": images})


def _openvino(model: str, precision: str) -> Callable[[Any], Any]:
    import onnxruntime

    hint = "bf16" if precision == "bf16" else "f32"
    properties = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    config = {"device_type": "CPU", "load_config": json.dumps({"CPU": properties})}
    session = onnxruntime.InferenceSession(
        model, options, [("OpenVINOExecutionProvider", config)], enable_fallback=0
    )
    return lambda images: session.run(["logits"], {"image": images})


def _nncf(model: str, precision: str) -> Callable[[Any], Any]:
    import nncf
    import openvino

    noise = np.random.default_rng(1).integers(0, 256, (CALIBRATION_IMAGES, 224, 224, 3), np.uint8)
    data = nncf.Dataset([image[np.newaxis] for image in noise])
    quantized = nncf.quantize(
        openvino.Core().read_model(model), data, subset_size=CALIBRATION_IMAGES
    )
    properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    compiled = openvino.Core().compile_model(quantized, "CPU", properties)
    return lambda images: compiled([images])


if __name__ == "__main__":
    main()
