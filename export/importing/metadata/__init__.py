"""The metadata of a graph: labels and preprocessing that its author wrote down.

They are properties of the ONNX file, as Ultralytics writes them, or files next to it: those of
MLflow, Hugging Face and timm, or a file of labels. Options of the user come before all of them.
"""

from convoy.export.importing.metadata.completion import Completion, complete
from convoy.export.importing.metadata.mlflow_model import graph_in, model_name_in

__all__ = ["Completion", "complete", "graph_in", "model_name_in"]
