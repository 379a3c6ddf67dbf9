"""KServe's Python server, which makes no batches: MODEL.onnx NAME THREADS GRPC_PORT HTTP_PORT."""

import sys

import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer

path, name, threads, grpc_port, http_port = sys.argv[1:]


class Network(Model):
    """Runs the graph."""

    def load(self):
        """Open the graph."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(threads)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]
        self.ready = True
        return True

    async def predict(self, payload, headers=None, response_headers=None):
        """Answer one request."""
        values = self.session.run(self.names, {"image": payload.inputs[0].as_numpy()})
        outputs = []
        for output_name, value in zip(self.names, values, strict=True):
            output = InferOutput(output_name, list(value.shape), "FP32")
            output.set_data_from_numpy(value, binary_data=True)
            outputs.append(output)
        return InferResponse(payload.id, self.name, outputs)


network = Network(name)
network.load()
ModelServer(http_port=int(http_port), grpc_port=int(grpc_port), workers=1).start([network])
