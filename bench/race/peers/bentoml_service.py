"""BentoML: a tensor as JSON in and out is what it has; batched. Its settings lie in race.json."""

import json
from pathlib import Path

import bentoml
import numpy as np
import onnxruntime

SETTINGS = json.loads((Path(__file__).parent / "race.json").read_text())


@bentoml.service(workers=1, traffic={"timeout": 60})
class Network:
    """Runs the graph."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = SETTINGS["threads"]
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            SETTINGS["path"], options, ["CPUExecutionProvider"]
        )

    @bentoml.api(batchable=True, max_batch_size=SETTINGS["max_batch_size"], max_latency_ms=10_000)
    def infer(self, images: np.ndarray) -> np.ndarray:
        """Answer a batch."""
        return self.session.run(["logits"], {"image": images.astype(np.uint8)})[0]
