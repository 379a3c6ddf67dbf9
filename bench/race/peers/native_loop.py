"""pygrpc-native and ONNX Runtime with nothing between: what a server of the two could reach.

`native_loop.py MODEL PORT THREADS MAX_BATCH_SIZE`. No limits, no checks, no metrics, no other call:
whatever comes is taken for an image, alone in its request, and runs with all that came with it.
"""

import sys

import numpy as np
import onnxruntime
from pygrpc_native import NativeGrpcFront

from bench.race.raced_model import INFER_PATH
from convoy.pb.inference import grpc_service_pb2 as pb


def main(path: str, port: str, threads: str, most: str) -> None:
    """Answer until it is killed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape[1:]
    size = int(np.prod(shape))
    head = pb.ModelInferResponse()
    for output in session.get_outputs():
        head.outputs.add(name=output.name, datatype="FP32", shape=[1, output.shape[1]])
    header = head.SerializeToString()
    front = NativeGrpcFront(f"127.0.0.1:{port}", [(INFER_PATH, False)])
    front.start()
    while events := front.recv_batch(int(most)):
        images = [np.frombuffer(event[3][-size:], np.uint8).reshape(shape) for event in events]
        outputs = session.run(None, {"image": np.stack(images)})
        for place, event in enumerate(events):
            raw = pb.ModelInferResponse()
            raw.raw_output_contents.extend(output[place].tobytes() for output in outputs)
            front.respond(event[1], header + raw.SerializeToString())


if __name__ == "__main__":
    main(*sys.argv[1:])
