"""The contract between export and service: manifest, preprocessing, model repository.

Everything that training and serving must agree on lives here and is imported by both. Nothing
here imports PyTorch, ONNX Runtime or gRPC.
"""
