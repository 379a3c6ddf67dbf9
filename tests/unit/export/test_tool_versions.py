import platform
from importlib.metadata import version

import convoy
from convoy.export.tool_versions import tool_versions


def test_versions() -> None:
    """
    convoy's version is the package's own, whatever distribution is called `convoy`.
    """
    assert tool_versions(["onnx"]) == {
        "python": platform.python_version(),
        "convoy": convoy.__version__,
        "onnx": version("onnx"),
    }
