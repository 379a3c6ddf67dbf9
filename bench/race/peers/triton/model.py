"""Triton's python backend: a batch of requests joined, run by ONNX Runtime, and cut up again."""

import json
import os

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance of the model."""

    def initialize(self, args):
        """Open the graph that lies beside this file."""
        parameters = json.loads(args["model_config"])["parameters"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters["threads"]["string_value"])
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]

    def execute(self, requests):
        """Answer the requests of one batch."""
        images = [pb_utils.get_input_tensor_by_name(r, "image").as_numpy() for r in requests]
        values = self.session.run(self.names, {"image": np.concatenate(images)})
        responses, start = [], 0
        for image in images:
            end = start + len(image)
            tensors = [
                pb_utils.Tensor(name, value[start:end])
                for name, value in zip(self.names, values, strict=True)
            ]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
            start = end
        return responses
