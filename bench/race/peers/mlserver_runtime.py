"""MLServer's runtime for a model of one's own; adaptive batching is set in model-settings.json."""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Network(MLModel):
    """Runs the graph."""

    async def load(self):
        """Open the graph."""
        extra = self.settings.parameters.extra
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = extra["threads"]
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            extra["path"], options, ["CPUExecutionProvider"]
        )
        self.names = [output.name for output in self.session.get_outputs()]
        return True

    async def predict(self, payload):
        """Answer one batch of requests, joined by MLServer."""
        images = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        values = self.session.run(self.names, {"image": images})
        return InferenceResponse(
            model_name=self.name,
            id=payload.id,
            outputs=[
                NumpyCodec.encode_output(name, value)
                for name, value in zip(self.names, values, strict=True)
            ],
        )
