"""Missing packages: the smallest extra that is enough is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from convoy.commands import extras
from convoy.commands.extras import remedy

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("command", "module", "has_runtime", "expected"),
    [
        ("compare", "onnxruntime", False, "cpu,import"),
        ("compare", "matplotlib", True, "import"),
        ("describe", "onnx", True, "import"),
        ("describe", "onnx", False, "cpu,import"),
        ("import", "onnx.checker", False, "cpu,import"),
        ("export", "torch", False, "cpu,export"),
        ("export", "torchvision", True, "export"),
        ("bulk", "pyarrow", False, "cpu,bulk"),
        ("bulk", "distributed", True, "dask"),
        ("bulk", "ray", True, "ray"),
        ("serve", "click", False, "cpu"),
        ("serve", "starlette", True, "server"),
        ("tune", "onnxruntime", False, "cpu,bench"),
        ("bench", "numpy", False, "bench"),
        ("bench", "mlperf_loadgen", False, "mlperf"),
        ("classify", "click", False, "cli"),
        ("models", "rich", False, "cli"),
        ("token", "pydantic", False, "cli"),
        ("", "click", False, "cli"),
        ("--help", "click", False, "cli"),
    ],
)
def test_smallest_extra(
    monkeypatch: pytest.MonkeyPatch, command: str, module: str, has_runtime: bool, expected: str
) -> None:
    """
    A command names its own extra, and a runtime only if there is none: two exclude each other.
    """
    monkeypatch.setattr(extras, "find_spec", lambda _: object() if has_runtime else None)
    assert remedy(command, module).endswith(
        f" needs the package {module}: in convoy's folder, pip install '.[{expected}]'"
    )


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("click", [], "cli"),
        ("click", ["models"], "cli"),
        ("onnx", ["describe", "net.onnx"], "import"),
        ("mlperf_loadgen", ["bench", "m", "--mlperf", "server", "--rate", "1"], "mlperf"),
    ],
)
def test_missing_package(tmp_path: Path, module: str, arguments: list[str], extra: str) -> None:
    """
    A command without one of its packages is one line and code 1.
    """
    (tmp_path / "net.onnx").touch()
    # In a process of its own: one that has loaded a package cannot forget it.
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules[{module!r}] = None; "
        f"from convoy.__main__ import main; sys.exit(main({arguments!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith(
        f"needs the package {module}: in convoy's folder, pip install '.[{extra}]'"
    )
