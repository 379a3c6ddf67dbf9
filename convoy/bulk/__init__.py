"""Classification of collections of images, on one machine or by the workers of an engine.

    from convoy.bulk import Classifier

    classifier = Classifier("model_repository/lenet5/1")
    columns = classifier(["three.png", "seven.png"])
    print(columns["label"], columns["probability"])

`Classifier` is the object that engines call. It needs numpy, ONNX Runtime, Pillow, pydantic and
simplejpeg; it needs no server, no gRPC, no PyTorch, and no engine.
"""

from convoy.bulk.classifier import Classifier

__all__ = ["Classifier"]
