"""Devices and sessions: all code that depends on ONNX Runtime."""
