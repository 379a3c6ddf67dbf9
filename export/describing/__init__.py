"""Description: from a network or a graph to its table of layers and a drawing.

An ONNX graph is read without PyTorch; both readers give the same kind of layers.
"""
