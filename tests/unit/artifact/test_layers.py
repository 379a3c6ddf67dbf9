import dataclasses
import json
import re
from pathlib import Path

import pytest

from convoy.artifact.errors import ArtifactError
from convoy.artifact.files import read_artifact
from convoy.artifact.layers import (
    LAYERS_FILE,
    Description,
    Layer,
    Window,
    read_layers,
    write_layers,
)
from convoy.artifact.repository import ModelRepository
from tests.harness import tiny

IMAGE = Layer(name="image", kind="input", inputs=(), output_shape=(1, 4, 4))
CONV = Layer(
    name="conv1",
    kind="conv",
    inputs=(0,),
    output_shape=(2, 3, 3),
    window=Window((2, 2), (1, 1)),
    parameters=10,
    arithmetic="(2*2*1 + 1) * 2",
    macs=72,
    then=("relu",),
    receptive_field_px=(2, 2),
)
FOUND = Description("tiny version 1", (IMAGE, CONV), 10)


def test_comes_with_its_artifact(tmp_path: Path) -> None:
    """
    A file written beside an artifact is read with it and counts as a change.
    """
    manifest = tiny.write(tmp_path)
    repository, folder = ModelRepository(tmp_path), tmp_path / "tiny" / "1"
    assert read_artifact(folder).layers is None
    before = repository.signature("tiny", 1)
    write_layers(folder, FOUND, manifest.model_sha256)
    assert repository.read("tiny", 1).layers == FOUND
    assert repository.signature("tiny", 1) != before
    assert [path.name for path in folder.parent.iterdir()] == ["1"]


@pytest.mark.parametrize("content", ["", "{}", '{"model_sha256": "0", "description": {}}'])
def test_damaged(tmp_path: Path, content: str) -> None:
    """
    A file that does not describe layers is refused, and the message names it.
    """
    (tmp_path / LAYERS_FILE).write_text(content)
    with pytest.raises(ArtifactError, match=r"layers\.json: damaged"):
        read_layers(tmp_path, "0" * 64)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize("field", ["parameters", "macs"])
def test_numbers_that_json_does_not_have(tmp_path: Path, field: str, number: str) -> None:
    """
    NaN and infinity are refused: they count nothing.
    """
    write_layers(tmp_path, FOUND, "a" * 64)
    path = tmp_path / LAYERS_FILE
    path.write_text(re.sub(rf'"{field}": ?\d+', f'"{field}": {number}', path.read_text()))
    with pytest.raises(ArtifactError, match=rf"(?s)layers\.json: damaged: .*{field}.*finite"):
        read_layers(tmp_path, "a" * 64)


@pytest.mark.parametrize("place", [-1, 1, 99])
def test_inputs_that_do_not_come_before(tmp_path: Path, place: int) -> None:
    """
    A layer reads only layers before it: the page would fail on any other index.
    """
    first, second, *_ = FOUND.layers
    layers = (first, dataclasses.replace(second, inputs=(place,)))
    write_layers(tmp_path, Description(name="damaged", layers=(first, second)), "a" * 64)
    path = tmp_path / LAYERS_FILE
    content = json.loads(path.read_text())
    content["description"]["layers"] = [dataclasses.asdict(layer) for layer in layers]
    path.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=r"layer 1 reads a layer that does not come before it"):
        read_layers(tmp_path, "a" * 64)


def test_of_another_graph(tmp_path: Path) -> None:
    """
    Layers stay with the graph that they were read from.
    """
    write_layers(tmp_path, FOUND, "a" * 64)
    assert read_layers(tmp_path, "a" * 64) == FOUND
    with pytest.raises(ArtifactError, match="describes another graph"):
        read_layers(tmp_path, "b" * 64)


def test_as_dict() -> None:
    """
    Totals and layers are plain data.
    """
    told = json.loads(json.dumps(FOUND.as_dict()))
    assert (told["parameters"], told["macs"], told["depth"]) == (10, 72, 1)
    assert told["layers"][1]["window"]["kernel"] == [2, 2]
    assert [layer["groups"] for layer in told["layers"]] == [
        FOUND.groups(layer) for layer in FOUND.layers
    ]
