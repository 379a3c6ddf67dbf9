"""convoy trains the classic convolutional networks and serves them over gRPC.

    from convoy import Client

    with Client("localhost:8001") as client:
        answer = client.classify("digit.png", model="lenet5")
        print(answer.label, answer.probability)

The client needs grpcio and protobuf only. `train`, `export_model`, `evaluate` and `list_models` do
what the commands do, and need the extras of these. Names are imported when they are first used, so
that `import convoy` costs nothing and parts that need no gRPC do not load it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convoy.api import evaluate, export_model, list_models, train
    from convoy.artifact.errors import ArtifactError, RepositoryError
    from convoy.client import AsyncClient, Client
    from convoy.commands.command_line import UsageError
    from convoy.export.errors import ExportError
    from convoy.results import Classification, ConvoyError, Model, Prediction, Timing

    __version__: str

__all__ = [
    "ArtifactError",
    "AsyncClient",
    "Classification",
    "Client",
    "ConvoyError",
    "ExportError",
    "Model",
    "Prediction",
    "RepositoryError",
    "Timing",
    "UsageError",
    "__version__",
    "evaluate",
    "export_model",
    "list_models",
    "train",
]

_MODULES = {
    **dict.fromkeys(["AsyncClient", "Client"], "convoy.client"),
    **dict.fromkeys(
        ["Classification", "ConvoyError", "Model", "Prediction", "Timing"], "convoy.results"
    ),
    **dict.fromkeys(["evaluate", "export_model", "list_models", "train"], "convoy.api"),
    **dict.fromkeys(["ArtifactError", "RepositoryError"], "convoy.artifact.errors"),
    "ExportError": "convoy.export.errors",
    "UsageError": "convoy.commands.command_line",
}


def __getattr__(name: str) -> Any:
    """Import the package's names, and read the version, when they are first used."""
    if name == "__version__":
        return _version()
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # Leave out the imports of this file, and modules that other imports have loaded.
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # takes 25 ms

    try:
        return version("convoy-serving")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0+unknown"
