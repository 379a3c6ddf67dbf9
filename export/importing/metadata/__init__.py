"""The metadata of a graph: labels and preprocessing that its author wrote down.

They are properties of the ONNX file, as Ultralytics writes them, or files next to it: those of
Hugging Face and timm, or a file of labels. Options of the user come before all of them.
"""

from convoy.export.importing.metadata.completion import Completion, complete

__all__ = ["Completion", "complete"]
