"""The examples, run as a user runs them, against a real server process."""

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.harness.server_process import ServerProcess

ROOT = Path(__file__).parents[2]
ANSWER = re.compile(
    r"(?P<file>.+): (?P<label>\d) (?P<probability>[01]\.\d{4})"
    r" \(then \d 0\.\d{4}, \d 0\.\d{4}\)"
    r"; decode [\d.]+ ms, queue [\d.]+ ms, inference [\d.]+ ms in a batch of \d+"
)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node example with its packages installed, in a copy, so that the tree stays clean."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node or npm is not installed")
    copy = tmp_path_factory.mktemp("checkout")
    folder = copy / "examples" / "node"
    without_packages = shutil.ignore_patterns("node_modules")
    shutil.copytree(ROOT / "examples" / "node", folder, ignore=without_packages)
    shutil.copytree(ROOT / "proto", copy / "proto")
    command = ["npm", "ci", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return folder / "classify.js"


@pytest.fixture
def address(lenet_repository: Path) -> Iterator[str]:
    """Address of a server with LeNet-5."""
    with ServerProcess(lenet_repository) as server:
        yield server.address


@pytest.fixture
def digits(lenet_repository: Path, tmp_path: Path) -> dict[str, str]:
    """Files of the golden digits as they were before they were padded, with their labels."""
    artifact = lenet_repository / "lenet5" / "1"
    manifest = json.loads((artifact / "manifest.json").read_text())
    pad_px = manifest["preprocessing"]["pad_px"]
    with np.load(artifact / "golden.npz") as golden:
        images, logits = golden["images"], golden["logits"]
    found = {}
    for index, pixels in enumerate(images):
        path = tmp_path / f"{index}.png"
        Image.fromarray(pixels[pad_px:-pad_px, pad_px:-pad_px, 0]).save(path)
        found[str(path)] = manifest["labels"][logits[index].argmax()]
    return found


def classify(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the Node example."""
    command = ["node", str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_node(script: Path, address: str, digits: dict[str, str]) -> None:
    """
    More files than are in flight at once have one line each, in their order, with the label that
    PyTorch gave; the only model does not have to be named.
    """
    files = [*digits] * 5
    done = classify(script, "--address", address, *files)
    assert (done.returncode, done.stderr) == (0, "")
    answers = [ANSWER.fullmatch(line) for line in done.stdout.splitlines()]
    assert [answer and (answer["file"], answer["label"]) for answer in answers] == [
        (file, digits[file]) for file in files
    ]
    assert all(float(answer["probability"]) > 0.9 for answer in answers if answer)


def test_node_options(script: Path, address: str, digits: dict[str, str]) -> None:
    """
    The named model is asked, and for as many classes as were wanted.
    """
    file, label = next(iter(digits.items()))
    done = classify(script, "--address", address, "--model", "lenet5", "--top-k", "1", file)
    assert done.returncode == 0
    assert re.match(rf"{re.escape(file)}: {label} 0\.\d+; decode ", done.stdout)
    done = classify(script, "--address", address, "--model", "none", file)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{file}: NOT_FOUND MODEL_NOT_FOUND: no model is named 'none'\n"


def test_node_failures(script: Path, address: str, digits: dict[str, str], tmp_path: Path) -> None:
    """
    A file that is no image and one that is not there are told with their reasons, and the files
    around them are answered all the same.
    """
    notes, missing = tmp_path / "notes.txt", tmp_path / "missing.png"
    notes.write_text("no image")
    first, last, *_ = digits
    done = classify(script, "--address", address, first, str(notes), str(missing), last)
    assert done.returncode == 1
    answers = [ANSWER.fullmatch(line) for line in done.stdout.splitlines()]
    assert [answer and answer["file"] for answer in answers] == [first, last]
    refused, unreadable = done.stderr.splitlines()
    assert refused.startswith(f"{notes}: INVALID_ARGUMENT INVALID_IMAGE: ")
    assert unreadable.startswith(f"{missing}: ENOENT: ")


@pytest.mark.parametrize("model", [(), ("--model", "lenet5")], ids=["list", "classify"])
def test_node_without_a_server(
    script: Path, digits: dict[str, str], model: tuple[str, ...]
) -> None:
    """
    A server that cannot be reached is one clear line, without a reason and without a traceback.
    """
    file = next(iter(digits))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # keeps the port from others; nobody listens on it
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        done = classify(script, "--address", address, *model, file)
    assert (done.returncode, done.stdout) == (1, "")
    teller = file if model else "classify.js"
    assert re.fullmatch(rf"{re.escape(teller)}: UNAVAILABLE: .*ECONNREFUSED.*\n", done.stderr)


def test_lockfile_names_no_registry() -> None:
    """
    The packages come from whichever registry npm is set to.
    """
    lock = json.loads((ROOT / "examples" / "node" / "package-lock.json").read_text())
    assert not [name for name, entry in lock["packages"].items() if "resolved" in entry]
