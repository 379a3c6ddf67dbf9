"""LitServe: bytes as base64 in JSON in, JSON out: MODEL.onnx THREADS PORT SHAPE MAX_BATCH_SIZE."""

import base64
import sys

import litserve
import numpy as np
import onnxruntime

path, threads, port, shape, max_batch_size = sys.argv[1:]
SHAPE = tuple(map(int, shape.split(",")))


class Network(litserve.LitAPI):
    """Runs the graph."""

    def setup(self, device):
        """Open the graph."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(threads)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])

    def decode_request(self, request):
        """Read an image."""
        return np.frombuffer(base64.b64decode(request["image"]), np.uint8).reshape(SHAPE)

    def batch(self, inputs):
        """Join images."""
        return np.stack(inputs)

    def predict(self, images):
        """Answer a batch."""
        return self.session.run(["logits"], {"image": images})[0]

    def unbatch(self, output):
        """Cut up the answers."""
        return list(output)

    def encode_response(self, output):
        """Write an answer."""
        return {"logits": output.tolist()}


if __name__ == "__main__":
    api = Network(max_batch_size=int(max_batch_size), batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(port=int(port), host="127.0.0.1", generate_client_file=False, log_level="warning")
