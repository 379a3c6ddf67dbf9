"""Import writes, the service reads: foreign graphs of every kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image

from convoy.__main__ import main
from convoy.artifact.files import Artifact, file_sha256
from convoy.artifact.manifest import Preprocessing
from convoy.artifact.preprocess import image_to_input, preprocess
from convoy.artifact.repository import ModelRepository
from convoy.artifact.stores import RemoteRepository
from convoy.export.errors import GraphError
from convoy.export.importing.import_settings import ImportSettings
from convoy.pb.convoy.v1 import classifier_pb2
from convoy.service.runtime.device import Device
from convoy.service.runtime.session import Session
from tests.harness import foreign
from tests.harness.foreign import CLASSES, FEATURES, SIDE, labels, made, run
from tests.harness.images import encode, gradient
from tests.harness.server import Serve
from tests.harness.settings import read

CPU = Device(policy="cpu", cores=1)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def served(artifact: Artifact, image: bytes) -> dict[str, np.ndarray]:
    """Return the output of the server's session for one encoded image."""
    batch = image_to_input(image, artifact.manifest)[np.newaxis]
    return Session(artifact, CPU).run(batch)


@pytest.mark.parametrize(
    ("graph", "dtype", "layout", "where"),
    [
        ({}, "float32", "NCHW", "server"),
        ({"layout": "NHWC"}, "float32", "NHWC", "server"),
        ({"channels": 1}, "float32", "NCHW", "server"),
        ({"element": TensorProto.FLOAT16}, "float16", "NCHW", "server"),
        ({"element": TensorProto.UINT8, "layout": "NHWC"}, "uint8", "NHWC", "graph"),
        ({"element": TensorProto.UINT8}, "uint8", "NCHW", "graph"),
        ({"batch": 1}, "float32", "NCHW", "server"),
        ({"sides": ("height", "width"), "channels": "C", "layout": "NHWC"}, *("",) * 3),
    ],
)
def test_server_gives_what_the_graph_gives(
    tmp_path: Path, graph: dict[str, Any], dtype: str, layout: str, where: str
) -> None:
    """
    The server preprocesses for a graph of any input as the graph's author would, written
    down here a second time.
    """
    options: dict[str, Any] = {}
    if not dtype:  # nothing is known of the input but what is told
        options = {"layout": "NHWC", "color": "BGR", "crop": (SIDE, SIDE)}
        dtype, layout, where = "float32", "NHWC", "server"
    file = made(tmp_path, **graph)
    channels = 1 if graph.get("channels") == 1 else 3
    if where == "server":
        options |= {"mean": MEAN[:channels], "std": STD[:channels]}
    artifact, _ = run(file, tmp_path / "models", resize=12, **options)
    manifest = artifact.manifest
    assert (manifest.input.dtype, manifest.input.layout) == (dtype, layout)
    assert (manifest.normalization.where, manifest.input.channels) == (where, channels)
    color = options.get("color") or ("L" if channels == 1 else "RGB")
    assert manifest.preprocessing == Preprocessing(
        scaled_decoding=True, color=color, resize_px=12, crop_height_px=SIDE, crop_width_px=SIDE
    )

    image = encode(gradient())
    values = preprocess(image, manifest.preprocessing).astype(np.float64)
    if where == "server":
        values = (values / 255 - MEAN[:channels]) / STD[:channels]
    batch = values[np.newaxis].transpose(0, 3, 1, 2) if layout == "NCHW" else values[np.newaxis]
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"pixels": batch.astype(dtype)})
    (logits,) = served(artifact, image).values()
    assert logits == pytest.approx(expected, rel=2e-2 if dtype == "float16" else 1e-4)


def test_manifest_describes_the_graph(tmp_path: Path) -> None:
    """
    The manifest states what the graph itself shows; nothing is invented.
    """
    artifact, told = run(made(tmp_path), tmp_path, architecture="net")
    manifest = artifact.manifest
    assert (manifest.architecture, manifest.source) == (
        "net",
        "Foreign Net (v2).onnx, made by elsewhere",
    )
    assert manifest.labels == tuple(f"class {index}" for index in range(CLASSES))
    assert manifest.parameter_count == FEATURES * 3 * 9 + CLASSES * FEATURES + CLASSES
    assert manifest.macs == SIDE * SIDE * FEATURES * 3 * 9 + FEATURES * CLASSES
    assert artifact.layers is not None
    assert (artifact.layers.parameters, artifact.layers.macs) == (
        manifest.parameter_count,
        manifest.macs,
    )
    assert (manifest.precision, manifest.opset, manifest.golden_tolerance) == ("float32", 17, 1e-4)
    assert (manifest.training, manifest.evaluations) == (None, ())
    assert manifest.memory is not None
    assert manifest.memory.batch_size == manifest.max_batch_size == 32
    assert {"convoy", "onnx", "onnxruntime", "pillow"} < set(manifest.tools)
    assert "torch" not in manifest.tools
    assert "labels: none given" in told
    assert "at batch 1, 2, 32" in told


def test_graph_keeps_its_bytes(tmp_path: Path) -> None:
    """
    A graph that needs no change is the user's own file, by its hash.
    """
    file = made(tmp_path)
    artifact, told = run(file, tmp_path)
    assert artifact.manifest.model_sha256 == file_sha256(file)
    assert "written anew" not in told


def test_open_sizes_are_written_into_the_graph(tmp_path: Path) -> None:
    """
    The rest of a graph that had to be changed is as it was.
    """
    file = made(tmp_path, sides=("height", "width"))
    artifact, told = run(file, tmp_path, crop=(6, 10))
    assert artifact.manifest.input.item_shape == (3, 6, 10)
    assert "written anew" in told
    before, after = onnx.load(file), onnx.load(artifact.model_path)
    for dim in after.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "height" if dim.dim_value == 6 else "width"
    assert before == after


def test_weights_in_another_file_are_taken_in(tmp_path: Path) -> None:
    """
    An artifact is one file; weights beside the graph are moved into it.
    """
    (tmp_path / "given").mkdir()
    file = tmp_path / "given" / "large.onnx"
    onnx.save(
        foreign.classifier(), file, save_as_external_data=True, location="weights", size_threshold=0
    )
    artifact, told = run(file, tmp_path)
    assert "written anew" in told
    own, _ = run(made(tmp_path), tmp_path)
    image = encode(gradient())
    assert served(artifact, image)["logits"] == pytest.approx(served(own, image)["logits"])
    (tmp_path / "given" / "weights").unlink()
    with pytest.raises(GraphError, match="weights"):
        run(file, tmp_path)


def test_several_outputs(tmp_path: Path) -> None:
    """
    Logits and their softmax are both told apart; others keep their type and shape; what has no
    part for each image cannot be served and is left out.
    """
    names = ("features", "probabilities", "logits", "box", "total")
    artifact, told = run(made(tmp_path, outputs=names), tmp_path, labels=labels(tmp_path))
    found = {o.name: (o.kind, o.dtype, o.shape) for o in artifact.manifest.outputs}
    assert found == {
        "features": ("other", "float32", (FEATURES,)),
        "probabilities": ("probabilities", "float32", (CLASSES,)),
        "logits": ("logits", "float32", (CLASSES,)),
        "box": ("other", "int64", (4,)),
    }
    assert artifact.manifest.scores.name == "logits"
    assert "left out: total" in told
    assert set(served(artifact, encode(gradient()))) == set(found)


@pytest.mark.parametrize(
    ("output", "kind", "shape"),
    [
        ("logits", "logits", (CLASSES,)),
        ("probabilities", "probabilities", (CLASSES,)),
        ("map", "logits", (CLASSES, 1, 1)),
    ],
)
def test_one_output(tmp_path: Path, output: Any, kind: str, shape: tuple[int, ...]) -> None:
    """
    Import finds the kind of the scores by the last operators, and prints it.
    """
    artifact, told = run(made(tmp_path, outputs=[output]), tmp_path)
    (found,) = artifact.manifest.outputs
    assert (found.name, found.kind, found.shape) == (output, kind, shape)
    assert f"output {output} holds {kind}, by its operator " in told
    assert served(artifact, encode(gradient()))[output].shape == (1, *shape)


def test_kind_of_scores_can_be_given(tmp_path: Path) -> None:
    """
    The user may know better.
    """
    artifact, told = run(made(tmp_path, outputs=["probabilities"]), tmp_path, scores="logits")
    assert artifact.manifest.scores.kind == "logits"
    assert "as --scores says" in told


def test_batch_fixed_at_one(tmp_path: Path) -> None:
    """
    A graph that takes one image at a time is served so.
    """
    artifact, told = run(made(tmp_path, batch=1), tmp_path)
    assert artifact.manifest.max_batch_size == 1
    assert "takes one image at a time" in told
    Session(artifact, CPU)


def test_wrong_mean_changes_the_answer(tmp_path: Path) -> None:
    """
    Normalisation is no mere remark: the server applies what the manifest says.
    """
    file, image = made(tmp_path), encode(gradient())
    right, wrong = (
        served(run(file, tmp_path, mean=mean)[0], image)["logits"] for mean in (MEAN, (0, 0, 0))
    )
    assert np.abs(right - wrong).max() > 0.1


def test_pixels_from_0_to_255(tmp_path: Path) -> None:
    """
    A graph of floats that normalises by itself gets pixels, by either way of saying so.
    """
    file, image = made(tmp_path), encode(gradient())
    one, _ = run(file, tmp_path, normalization="graph")
    other, _ = run(file, tmp_path, mean=(0,), std=(0.00392156862745098,))
    pixels = preprocess(image, one.manifest.preprocessing)
    assert (image_to_input(image, one.manifest) == pixels.transpose(2, 0, 1)).all()
    assert image_to_input(image, other.manifest) == pytest.approx(
        image_to_input(image, one.manifest), abs=1e-3
    )


def test_golden_images_of_the_user(tmp_path: Path) -> None:
    """
    Given images are preprocessed as a server's, and they are the ones that are kept.
    """
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "notes.txt").touch()
    for index in range(3):
        (folder / f"{index}.png").write_bytes(encode(gradient(size=(20 + 10 * index, 30))))
    single = tmp_path / "single.jpg"
    single.write_bytes(encode(gradient().rotate(90), "JPEG"))
    artifact, _ = run(made(tmp_path), tmp_path, golden=(folder, single))
    given = [*sorted(folder.glob("*.png")), single]
    expected = [image_to_input(path.read_bytes(), artifact.manifest) for path in given]
    assert (artifact.golden.images == np.stack(expected)).all()
    Session(artifact, CPU)


def test_drift_is_noticed(tmp_path: Path) -> None:
    """
    The golden answers tell other weights from the right ones.
    """
    artifact, _ = run(made(tmp_path), tmp_path)
    foreign.save(foreign.classifier(bias=0.1), artifact.model_path)
    with pytest.raises(Exception, match="drift"):
        Session(artifact, CPU)


async def test_classify_by_a_server(tmp_path: Path, serve: Serve) -> None:
    """
    A server answers an encoded image with the user's labels and the graph's probabilities.
    """
    artifact, _ = run(
        made(tmp_path, outputs=["probabilities"]),
        tmp_path / "models",
        labels=labels(tmp_path),
        mean=MEAN,
        std=STD,
    )
    image = encode(gradient(), "JPEG")
    expected = served(artifact, image)["probabilities"][0]
    async with serve(model_repository=tmp_path / "models") as running:
        answer = await running.classifier.Classify(
            classifier_pb2.ClassifyRequest(image=image, model="foreign", top_k=CLASSES)
        )
    found = {p.label: p.probability for p in answer.predictions}
    assert found == pytest.approx(dict(zip("abcde", expected, strict=True)), rel=1e-4)


@pytest.mark.parametrize("output", ["features", "logits"])
def test_output_can_be_chosen(tmp_path: Path, output: str) -> None:
    """
    The user chooses between two outputs that may be the scores; the other is served too.
    """
    file = made(tmp_path, outputs=["logits", "features"])
    artifact, _ = run(file, tmp_path, output=output)
    kinds = {o.name: o.kind for o in artifact.manifest.outputs}
    assert kinds == {"logits": "other", "features": "other"} | {output: "logits"}
    assert len(artifact.manifest.labels) == (CLASSES if output == "logits" else FEATURES)
    Session(artifact, CPU)


def test_labels_as_json(tmp_path: Path) -> None:
    """
    The format of Keras's `imagenet_class_index.json`, in whatever order.
    """
    index = {str(i): [f"n{i}", "edcba"[i]] for i in (4, 2, 0, 1, 3)}
    artifact, told = run(
        made(tmp_path), tmp_path, labels=labels(tmp_path, json.dumps(index), "index.json")
    )
    assert artifact.manifest.labels == tuple("edcba")
    assert "labels: none given" not in told


def test_nodes_in_any_order(tmp_path: Path) -> None:
    """
    A complaint of ONNX's checker about a graph that ONNX Runtime takes is only printed:
    ONNX Runtime's own converter to float16 writes such graphs.
    """
    made = foreign.classifier()
    nodes = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend(reversed(nodes))
    file = foreign.save(made, tmp_path / "reversed.onnx")
    artifact, told = run(file, tmp_path)
    assert "onnx.checker: Nodes in a graph must be topologically sorted" in told
    assert artifact.manifest.model_sha256 == file_sha256(file)
    Session(artifact, CPU)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The command imports a file; the model's name is made from the file's.
    """
    arguments = [str(made(tmp_path)), "--model-repository", str(tmp_path), "--resize", "12"]
    arguments += ["--crop", "8x8", "--mean", "0.5,0.4,0.3", "--std", "0.2", "--color", "BGR"]
    assert main(["import", *arguments, "--labels", str(labels(tmp_path))]) == 0
    manifest = ModelRepository(tmp_path).read("foreign-net-v2", 1).manifest
    assert manifest.normalization.mean == (0.5, 0.4, 0.3)
    assert manifest.normalization.std == (0.2, 0.2, 0.2)
    assert manifest.preprocessing.color == "BGR"
    assert "model           foreign-net-v2 version 1" in capsys.readouterr().out


def _photos(folder: Path, count: int) -> Path:
    """A folder with *count* images of each of two classes."""
    for index in range(2 * count):
        path = folder / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(gradient(size=(12, 12))))
    return folder


def test_baseline_of_given_images(tmp_path: Path) -> None:
    """
    With --data, the version has the baseline that a server finds drift with; it is whole with it.
    """
    artifact, told = run(made(tmp_path), tmp_path, data=f"folder:{_photos(tmp_path / 'p', 250)}")
    assert artifact.baseline is not None
    assert (artifact.baseline.data, artifact.baseline.images) == ("folder:p", 500)
    assert artifact.baseline.model_sha256 == artifact.manifest.model_sha256
    assert "baseline for --drift: 500 images of folder:p" in told


def test_images_that_make_no_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Too few images, damaged ones and missing ones are refused, and nothing is written.
    """
    photos = _photos(tmp_path / "photos", 251)
    arguments = ["import", str(made(tmp_path)), "--model-repository", str(tmp_path / "models")]
    (photos / "a" / "0.png").write_bytes(b"no image")
    assert main([*arguments, "--data", f"folder:{photos}"]) == 1
    assert f"{photos / 'a' / '0.png'} cannot be decoded" in capsys.readouterr().err
    for index in (0, 1, 2):
        (photos / "ab"[index % 2] / f"{index}.png").unlink()
    assert main([*arguments, "--data", f"folder:{photos}"]) == 1
    assert "folder:photos has 499 images, and the baseline" in capsys.readouterr().err
    assert main([*arguments, "--data", "photos"]) == 1
    assert "unknown data set 'photos'" in capsys.readouterr().err
    assert ModelRepository(tmp_path / "models").versions("foreign-net-v2") == []


def test_object_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The command writes to a store, and shows the URL of the version.
    """
    url = "memory://import/models"
    arguments = [str(made(tmp_path)), "--name", "foreign", "--model-repository", url]
    assert main(["import", *arguments, "--resize", "12", "--crop", "8x8"]) == 0
    assert f"artifact        {url}/foreign/1" in capsys.readouterr().out
    assert RemoteRepository(url, tmp_path / "copies").read("foreign", 1).manifest.version == 1


def test_needs_no_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Import works without PyTorch and safetensors, and sets the variable that silences ONNX Runtime
    before it is loaded.
    """
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")  # the tests have loaded it
    program = (
        "import os, sys; sys.modules['torch'] = sys.modules['torchvision'] = None;"
        "sys.modules['safetensors'] = None;"
        "from convoy.__main__ import main; code = main(sys.argv[1:]);"
        "sys.exit(code or os.environ.get('ORT_DISABLE_TELEMETRY') != '1')"
    )
    arguments = ("import", str(made(tmp_path)), "--model-repository", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ModelRepository(tmp_path).versions("foreign-net-v2") == [1]


def test_graph_without_products(tmp_path: Path) -> None:
    """
    The output says so if there is nothing to count.
    """
    graph = helper.make_graph(
        [
            helper.make_node("GlobalMaxPool", ["pixels"], ["largest"]),
            helper.make_node("Identity", ["largest"], ["scores"]),
        ],
        "colours",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3, 1, 1])],
    )
    file = foreign.save(foreign.model(graph), tmp_path / "colours.onnx")
    artifact, told = run(file, tmp_path, scores="logits")
    assert (artifact.manifest.parameter_count, artifact.manifest.macs) == (0, 0)
    assert "parameters: none found" in told
    assert "MACs: none found" in told


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Each option is a variable, written as the flag is.
    """
    for name, value in {"MEAN": "0.1,0.2,0.3", "CROP": "224", "GOLDEN": "a.png,b"}.items():
        monkeypatch.setenv(f"CONVOY_{name}", value)
    found = read(ImportSettings, ["x.onnx"])
    assert (found.mean, found.crop) == ((0.1, 0.2, 0.3), (224, 224))
    assert found.golden == (Path("a.png"), Path("b"))


def test_image_is_cropped(tmp_path: Path) -> None:
    """
    Only the middle of a wide image counts once it is resized.
    """
    artifact, _ = run(made(tmp_path), tmp_path, resize=8)
    wide = Image.new("RGB", (48, 8), "white")
    wide.paste("red", (20, 0, 28, 8))
    square = Image.new("RGB", (8, 8), "red")
    one, other = (served(artifact, encode(image))["logits"] for image in (wide, square))
    assert one == pytest.approx(other)
