"""The structure of the code in figures: `python -m tools.structure`; prints JSON.

With `--trace classify` or `--trace infer` it traces one request through a real server instead, and
prints how many of our functions it calls, in how many files, and how often it moves between files.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import re
import statistics
import sys
import tempfile
import time
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from PIL import Image

from convoy.pb.convoy.v1 import classifier_pb2, classifier_pb2_grpc
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from tests.harness.server_process import ServerProcess

ROOT = Path(__file__).parents[1]
FOLDERS = ("service", "artifact", "models", "export", "convoy", "bench", "tools")

FRAGMENT_WORDS = {
    *("what", "where", "who", "whoever", "of", "those", "so", "as", "that", "how", "when"),
    *("whether", "likewise"),
}
"""A docstring that begins with one of these is a fragment, not a sentence or a noun phrase."""

WARM_UP_REQUESTS = 20

# Runs convoy under a profiler. While the file FLAG exists, it records the calls of our functions;
# with the first call after that it writes them to the file OUT.
_TRACED = """
import json, os, runpy, sys, threading
root, flag, out = sys.argv[1:4]
sys.argv = ["convoy", *sys.argv[4:]]
calls, was_on = [], False
def profile(frame, event, _):
    global was_on
    path = frame.f_code.co_filename
    if event != "call" or not path.startswith(root) or "/pb/" in path or "/.venv" in path:
        return
    is_on = os.path.exists(flag)
    if is_on:
        calls.append((os.path.realpath(path), frame.f_code.co_qualname))
    elif was_on:
        with open(out, "w") as file:
            json.dump(calls, file)
    was_on = is_on
threading.setprofile(profile)
sys.setprofile(profile)
runpy.run_module("convoy", run_name="__main__")
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """
    The figures of one folder.

    Attributes:
        lines: Lines of Python, without generated code.
        entries: Modules and packages directly in it.
        function_median: Lines of a function without its docstring, the median.
        function_p90: The same, the 90th percentile.
        comments_percent: Comments per hundred lines.
        fragments_percent: Docstrings that begin with one of `FRAGMENT_WORDS`, per hundred.
    """

    files: int
    lines: int
    longest_file: int
    entries: int
    function_median: float
    function_p90: int
    comments_percent: float
    fragments_percent: float


class Docstring(NamedTuple):
    """A docstring, and the place of what it documents, as `file:line`."""

    place: str
    text: str

    @property
    def is_fragment(self) -> bool:
        """Return whether it begins with one of `FRAGMENT_WORDS`."""
        return self.text.split()[0].lower().strip("`*,:") in FRAGMENT_WORDS


def sources(folder: str) -> list[Path]:
    """Return the Python files of a folder of the repository, without generated code."""
    files = (ROOT / folder).rglob("*.py")
    return sorted(file for file in files if not {"pb", "node_modules"} & set(file.parts))


def docstrings(folder: str) -> Iterator[Docstring]:
    """Yield every docstring of a folder, those of constants included."""
    for file in sources(folder):
        for node in ast.walk(ast.parse(file.read_text())):
            # A text that stands alone documents its module, class, function, or the line before.
            match node:
                case ast.Expr(ast.Constant(str(text))) if text.strip():
                    yield Docstring(f"{file.relative_to(ROOT)}:{node.lineno}", text)


def page_docstrings() -> Iterator[Docstring]:
    """Yield every `/** ... */` of the page's JavaScript."""
    for file in sorted((ROOT / "service/web").rglob("*.js")):
        if "node_modules" not in file.parts:
            source = file.read_text()
            for found in re.finditer(r"/\*\*[\s*]*(.+?)\s*\*/", source, re.DOTALL):
                line = source.count("\n", 0, found.start()) + 1
                yield Docstring(f"{file.relative_to(ROOT)}:{line}", found[1])


def long_parameter_lists(folder: str, most: int) -> Iterator[str]:
    """Yield the functions of a folder that take more than *most* arguments by position."""
    for file in sources(folder):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
                if len(set(names) - {"self", "cls"}) > most:
                    yield f"{file.relative_to(ROOT)}:{node.lineno}: {node.name}"


def figures(folder: str) -> Figures:
    """Measure a folder of the repository."""
    files = sources(folder)
    lines = [len(file.read_text().splitlines()) for file in files]
    functions = sorted(length for file in files for length in _function_lengths(file))
    texts = list(docstrings(folder))
    packages = [path for path in (ROOT / folder).iterdir() if (path / "__init__.py").exists()]
    return Figures(
        files=len(files),
        lines=sum(lines),
        longest_file=max(lines),
        entries=len(packages) + len(list((ROOT / folder).glob("*.py"))),
        function_median=statistics.median(functions),
        function_p90=functions[9 * len(functions) // 10],
        comments_percent=round(100 * sum(map(_count_comments, files)) / sum(lines), 1),
        fragments_percent=round(100 * sum(t.is_fragment for t in texts) / len(texts), 1),
    )


def shared_names(folders: Sequence[str]) -> float:
    """Return the share of modules that have their name in common with another one, in [0, 1]."""
    stems = [file.stem for folder in folders for file in sources(folder)]
    names = Counter(stem for stem in stems if stem != "__init__")
    return sum(count for count in names.values() if count > 1) / names.total()


def trace(kind: str) -> dict[str, Any]:
    """Trace one `Classify` or `ModelInfer` for LeNet-5 through a real server over grpcio."""
    repository = ROOT / "tests/data/model_repository"
    with tempfile.TemporaryDirectory() as folder:
        flag, out = Path(folder) / "flag", Path(folder) / "calls.json"
        program = ("-c", _TRACED, f"{ROOT}{os.sep}", str(flag), str(out))
        with ServerProcess(repository, "--device", "cpu", program=program) as server:
            ask = _asker(kind, server.address)
            for _ in range(WARM_UP_REQUESTS):
                ask()
            time.sleep(1)  # for whatever follows an answer
            flag.touch()
            ask()
            flag.unlink()
            ask()
            time.sleep(1)
        calls = [(str(Path(path).relative_to(ROOT)), name) for path, name in _read(out)]
    path = [file for n, (file, _) in enumerate(calls) if not n or calls[n - 1][0] != file]
    return {"calls": len(calls), "files": len(set(path)), "moves": len(path), "path": path}


def _asker(kind: str, address: str) -> Callable[[], object]:
    """Return the function that sends one request."""
    channel = grpc.insecure_channel(address)
    if kind == "classify":
        image = io.BytesIO()
        Image.new("L", (28, 28), 90).save(image, "PNG")
        asked = classifier_pb2.ClassifyRequest(model="lenet5", image=image.getvalue(), top_k=3)
        classifier = classifier_pb2_grpc.ClassifierServiceStub(channel)
        return lambda: classifier.Classify(asked)
    request = pb.ModelInferRequest(model_name="lenet5", raw_input_contents=[bytes(32 * 32)])
    request.inputs.add(name="image", datatype="UINT8", shape=[1, 32, 32, 1])
    stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
    return lambda: stub.ModelInfer(request)


def _read(file: Path) -> list[list[str]]:
    calls: list[list[str]] = json.loads(file.read_text())
    return calls


def _function_lengths(file: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            documented = text.count("\n") + 1 if text else 0
            yield (node.end_lineno or 0) - node.lineno + 1 - documented


def _count_comments(file: Path) -> int:
    with tokenize.open(file) as source:
        tokens = tokenize.generate_tokens(source.readline)
        return sum(token.type == tokenize.COMMENT for token in tokens)


def main() -> None:
    """Print the figures, or a trace."""
    parser = argparse.ArgumentParser(prog="python -m tools.structure", description=__doc__)
    parser.add_argument("--trace", choices=["classify", "infer"], help="trace one request instead")
    chosen = parser.parse_args()
    if chosen.trace:
        found = trace(chosen.trace)
    else:
        found = {folder: asdict(figures(folder)) for folder in FOLDERS}
        found["shared_names_percent"] = round(100 * shared_names(FOLDERS), 1)
    json.dump(found, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
