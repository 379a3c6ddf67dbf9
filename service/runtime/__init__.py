"""From an artifact to answers: everything that knows ONNX Runtime's sessions is in here."""
