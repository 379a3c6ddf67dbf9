"""convoy serves the classic convolutional networks over gRPC; this package is its client.

    from convoy import Client

    with Client("localhost:8001") as client:
        answer = client.classify("digit.png", model="lenet5")
        print(answer.label, answer.probability)

The client needs grpcio and protobuf only; the command line and the server import theirs when
they run.
"""

from convoy.client import AsyncClient, Client
from convoy.results import Classification, ConvoyError, Model, Prediction, Timing

__all__ = [
    "AsyncClient",
    "Classification",
    "Client",
    "ConvoyError",
    "Model",
    "Prediction",
    "Timing",
]
