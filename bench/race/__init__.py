"""Races of convoy against other servers, and against ONNX Runtime alone, on one machine."""
