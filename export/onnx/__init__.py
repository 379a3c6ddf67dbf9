"""ONNX graphs: files, operators, sessions; export, proof, precision, memory and evaluation."""
