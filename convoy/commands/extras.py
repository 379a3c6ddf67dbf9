"""The smallest extra that installs a missing package. Needs no package itself."""

from __future__ import annotations

from importlib.util import find_spec

_OF_COMMANDS = {
    "export": "export",
    "import": "import",
    "quantize": "import",
    "describe": "import",
    "compare": "import",
    "evaluate": "import",
    "calibrate": "import",
    "baseline": "import",
    "predictions": "predictions",
    "bulk": "bulk",
    "serve": "server",
    "tune": "server,bench",
    "bench": "bench",
}
"""The extra of each command that needs more than `cli`."""

_WITH_RUNTIME = frozenset(
    {
        "bulk",
        "export",
        "import",
        "quantize",
        "describe",
        "calibrate",
        "baseline",
        "compare",
        "evaluate",
        "serve",
        "tune",
    }
)
"""The commands that run graphs, with ONNX Runtime from `cpu` or `gpu`."""

_OF_PACKAGES = {
    "torch": "export",
    "torchvision": "export",
    "mlperf_loadgen": "mlperf",
    "distributed": "dask",
    "ray": "ray",
}
"""The extra of each package that only some options of a command need."""


def remedy(command: str, module: str) -> str:
    """Return the remedy for *command*, or `convoy` without one, which lacks *module*."""
    if module.startswith("convoy."):
        # On Windows, git may check out the links in convoy/ as text files.
        return (
            f"convoy {command}: {module} is missing; if this is a checkout by git, run "
            "git config core.symlinks true, then git checkout -- convoy"
        )
    extras = _OF_PACKAGES.get(module.partition(".")[0]) or _OF_COMMANDS.get(command, "cli")
    # The runtimes of cpu and gpu exclude each other: name none to somebody who has one.
    if command in _WITH_RUNTIME and not find_spec("onnxruntime"):
        extras = f"cpu,{extras}".replace("cpu,server", "cpu")
    return (
        f"convoy {command}".rstrip()
        + f" needs the package {module}: in convoy's folder, pip install '.[{extras}]'"
    )
