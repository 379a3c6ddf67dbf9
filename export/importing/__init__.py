"""Import: from an ONNX classifier that was trained elsewhere to an artifact. Needs no PyTorch.

The graph keeps its own signature, so that clients which send it tensors go on working; what the
graph does not say of itself (labels, preprocessing, normalisation) comes from the command line.
"""
