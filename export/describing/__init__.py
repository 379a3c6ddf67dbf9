"""Description: from a network or a graph to its table of layers and its drawing.

A PyTorch network and an ONNX graph have a reader each; both return the same kind of layers. The
reader of graphs needs no PyTorch.
"""
