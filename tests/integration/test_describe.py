"""`convoy describe`, as a person would type it: architectures, artifacts, files, mistakes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from convoy.__main__ import main
from convoy.artifact.files import read_artifact
from convoy.artifact.layers import LAYERS_FILE
from tests.harness import foreign
from tests.harness.full_disk import limited_files

LENET5 = {"parameters": 61_706, "macs": 416_520, "convolutions": 2, "linear_layers": 3, "depth": 5}


def described(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the command's JSON."""
    assert main(["describe", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def costs(layers: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    """Return the shapes and costs of the convolutions and linear layers."""
    keys = ("name", "output_shape", "window", "receptive_field_px", "arithmetic", "macs")
    return [tuple(layer[key] for key in keys) for layer in layers if layer["parameters"]]


@pytest.fixture
def lenet_folder(lenet_repository: Path) -> Path:
    """An artifact."""
    return lenet_repository / "lenet5" / "1"


def test_artifact_is_its_architecture(
    lenet_repository: Path, lenet_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Network, artifact, the model's folder and the graph alone have the same description.
    """
    pytest.importorskip("torch", reason="architectures need PyTorch")
    network = described(capsys, "lenet5")
    assert LENET5.items() < network.items()
    for place in (lenet_folder, lenet_folder.parent, lenet_folder / "model.onnx"):
        artifact = described(capsys, str(place))
        assert (artifact["name"], artifact["trained_parameters"]) == ("lenet5 version 1", 61_706)
        assert LENET5.items() < artifact.items()
        assert costs(artifact["layers"]) == costs(network["layers"])


@pytest.mark.parametrize(
    ("operator", "is_multi_label", "told"),
    [("Sigmoid", True, "any number for each image (multi-label)"), ("Softmax", False, "one of")],
)
def test_kind_of_classes(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    operator: str,
    is_multi_label: bool,
    told: str,
) -> None:
    """
    The description of an artifact says whether an image may be of several classes.
    """
    made = foreign.ending([helper.make_node(operator, ["logits"], ["y"])], {"y": TensorProto.FLOAT})
    artifact, _ = foreign.run(foreign.save(made, tmp_path / "tags.onnx"), tmp_path)
    folder = artifact.model_path.parent
    assert described(capsys, str(folder))["multi_label"] is is_multi_label
    assert main(["describe", str(folder), "--save"]) == 0
    assert f"\nclasses     {told}" in capsys.readouterr().out
    assert "multi_label" not in (folder / LAYERS_FILE).read_text()


def test_classes_and_size(capsys: pytest.CaptureFixture[str]) -> None:
    """
    An architecture can be described for other classes and images than it was made for.
    """
    pytest.importorskip("torch", reason="architectures need PyTorch")
    (first, *_, last) = described(capsys, "resnet18", "--classes", "7", "--input-px", "64")[
        "layers"
    ]
    assert first["output_shape"] == [3, 64, 64]
    assert (last["output_shape"], last["arithmetic"]) == ([7], "(512 + 1) * 7")


def test_model_of_the_repository(
    lenet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A name that is no architecture's is a model's, and its newest version is described.
    """
    for version in ("2", "10"):
        folder = tmp_path / "digits" / version
        folder.mkdir(parents=True)
        (folder / "model.onnx").symlink_to(lenet_folder / "model.onnx")
        text = (lenet_folder / "manifest.json").read_text(encoding="utf-8")
        text = text.replace('"version": 1,', f'"version": {version},')
        (folder / "manifest.json").write_text(text, encoding="utf-8")
    found = described(capsys, "digits", "--model-repository", str(tmp_path))
    assert found["name"] == "lenet5 version 10"


def test_file_from_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    An ONNX file of any size is described for the size that is given.
    """
    path = foreign.made(tmp_path, sides=("height", "width"), layout="NHWC")
    found = described(capsys, str(path), "--input-px", "20")
    assert (found["name"], found["trained_parameters"]) == (path.name, None)
    assert found["layers"][0]["output_shape"] == [3, 20, 20]


def test_table_and_drawing(
    lenet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    People get one line per layer, whole in a pipe, and a drawing if they want one.
    """
    assert main(["describe", str(lenet_folder), "--graph", str(tmp_path / "net.dot")]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "conv2 conv+tanh 16x10x10 5x5 s1 p0 14 (5*5*6 + 1) * 16 = 2,416 240,000" in lines
    assert "parameters 61,706" in lines
    text = (tmp_path / "net.dot").read_text(encoding="utf-8")
    assert r"conv2\nconv 5x5 s1 p0\n16x10x10 +tanh" in text


def test_artifacts_need_no_pytorch(lenet_repository: Path, lenet_folder: Path) -> None:
    """
    By path or by name, an artifact is described where PyTorch is not installed.
    """
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from convoy.__main__ import main\n"
        "sys.exit(main(['describe', *sys.argv[1:]]))"
    )
    for arguments in ([lenet_folder], ["lenet5", "--model-repository", lenet_repository]):
        command = [sys.executable, "-c", script, *map(str, arguments), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert LENET5.items() < json.loads(done.stdout).items()


def test_save(lenet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The layers are written beside the model, and belong to the artifact from then on.
    """
    folder = tmp_path / "lenet5" / "1"
    shutil.copytree(lenet_folder, folder)
    (folder / LAYERS_FILE).unlink()
    found = described(capsys, "lenet5", "--save", "--model-repository", str(tmp_path))
    saved = read_artifact(folder).layers
    assert saved is not None
    assert json.loads(json.dumps(saved.as_dict())) == found | {"multi_label": None}
    assert saved == read_artifact(lenet_folder).layers


def test_network_without_pytorch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The error names the extra that installs PyTorch.
    """
    for name in [name for name in sys.modules if name.startswith("convoy.models")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["describe", "resnet50"]) == 1
    assert capsys.readouterr().err == (
        "convoy describe: describing the network resnet50 needs PyTorch; install the extra export\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["resnt50"],
            "'resnt50' is neither a network nor a model in model_repository; "
            "did you mean resnet50?",
        ),
        (["xyz"], "expected one of lenet5, "),
        (["none/here"], "none/here is not an ONNX file, an artifact or a folder of versions"),
        (["none.onnx"], "none.onnx is not an ONNX file"),
        (["resnet18", "--input-px", "8"], "resnet18 needs at least 32 px, not 8"),
        (["lenet5", "--input-px", "40"], "the network does not accept images of 1x40x40"),
        (["lenet5", "--graph", "net.gif"], "net.gif: unsupported file type; choose one of *.dot"),
        (["ANY_SIZE", "--save"], "--save needs an artifact, which"),
        (["ARTIFACT", "--classes", "3"], "the classes and the input of"),
        (["lenet5", "--layout", "NHWC"], "leave out --layout and --color"),
        (["ARTIFACT", "--color", "L"], "leave out --layout and --color"),
        (["ANY_SIZE"], "takes images of any size: give --input-px"),
        (["ANY_LAYOUT"], "may be NCHW or NHWC: give --layout"),
        (
            ["ANY_LAYOUT", "--layout", "NCHW", "--input-px", "8"],
            "any number of channels: give --color",
        ),
        (["FIXED", "--input-px", "9"], "takes images of 8x8: leave out --input-px"),
        (["FIXED", "--classes", "9"], "leave out --classes"),
        (["DAMAGED"], "is not an ONNX file, or it is damaged"),
    ],
)
def test_mistakes(
    tmp_path: Path,
    lenet_folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    """
    A subject that cannot be described prints one line and exits with 1.
    """
    pytest.importorskip("torch", reason="architectures need PyTorch")
    (tmp_path / "damaged.onnx").write_bytes(b"\x08nonsense")
    places = {
        "ARTIFACT": lenet_folder,
        "ANY_SIZE": foreign.made(tmp_path, sides=("height", "width")),
        "ANY_LAYOUT": foreign.save(
            foreign.classifier(sides=("h", "w"), channels="c"), tmp_path / "layout.onnx"
        ),
        "FIXED": foreign.save(foreign.classifier(), tmp_path / "fixed.onnx"),
        "DAMAGED": tmp_path / "damaged.onnx",
    }
    name, *options = arguments
    assert main(["describe", str(places.get(name, name)), *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith("convoy describe: ")
    assert message in error
    assert error.count("\n") == 1


def test_save_on_a_full_disk(
    lenet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    On a full disk, --save says so in one line, and leaves no part of the layers.
    """
    folder = tmp_path / "lenet5" / "1"
    shutil.copytree(lenet_folder, folder)
    (folder / LAYERS_FILE).unlink()
    with limited_files(100):
        assert main(["describe", str(folder), "--save"]) == 1
    assert capsys.readouterr().err == "convoy describe: File too large\n"
    assert not (folder / LAYERS_FILE).exists()
    assert list(folder.parent.iterdir()) == [folder]
