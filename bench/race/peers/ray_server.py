"""Ray Serve: raw bytes in, JSON out, batched: MODEL.onnx THREADS PORT SHAPE MAX_BATCH_SIZE."""

import sys
import time

import numpy as np
import onnxruntime
import ray
from ray import serve
from starlette.requests import Request

path, threads, port, shape, max_batch_size = sys.argv[1:]
SHAPE = tuple(map(int, shape.split(",")))


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Network:
    """Runs the graph."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(threads)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])

    @serve.batch(max_batch_size=int(max_batch_size), batch_wait_timeout_s=0.001)
    async def run(self, images):
        """Answer a batch."""
        return self.session.run(["logits"], {"image": np.stack(images)})[0].tolist()

    async def __call__(self, request: Request):
        """Answer one request."""
        image = np.frombuffer(await request.body(), np.uint8).reshape(SHAPE)
        return {"logits": await self.run(image)}


ray.init(num_cpus=max(2, int(threads)), include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(port), "access_log": False})
serve.run(Network.bind(), route_prefix="/")
print("ready", flush=True)
while True:
    time.sleep(3600)
