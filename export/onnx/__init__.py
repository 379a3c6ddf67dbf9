"""ONNX graphs: export, proof, precision, cost and evaluation."""
