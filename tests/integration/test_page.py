"""The page's files and its routes; tests/page runs the page in a browser."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convoy.artifact.layers import write_layers
from convoy.artifact.manifest import Normalization, OutputTensor, Preprocessing
from convoy.commands.compare.comparison_data import Comparison
from convoy.service.app import Server
from convoy.service.errors import StartError
from convoy.service.http.page import COMPARISON_VERSION, WEB
from convoy.service.settings import Settings
from tests.harness import tiny
from tests.harness.calls import check_error
from tests.harness.http import Connection, ask
from tests.harness.images import encode, png
from tests.harness.server import Running, Serve
from tests.unit.artifact.test_layers import FOUND

VERSION = "/page/models/tiny/versions/1"


async def test_files(running: Running) -> None:
    """
    The page and all that it is made of are there, packed, kept by browsers, and from here alone.
    """
    files = [path.relative_to(WEB) for path in WEB.rglob("*") if "node_modules" not in path.parts]
    paths = ["/", *(f"/web/{path}" for path in files if (WEB / path).is_file())]
    async with Connection(running.url) as connection:
        for path in paths:
            answer = await connection.ask("GET", path)
            assert answer.status == 200, path
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'self';")
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-cache"
            known = {"if-none-match": answer.headers["etag"]}
            assert (await connection.ask("GET", path, headers=known)).status == 304
        packed = await connection.ask("GET", "/web/parts.css", headers={"accept-encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"


async def test_models(running: Running) -> None:
    """
    Each served model is listed with its manifest, its provider and the kind of its scores.
    """
    answer = await ask("GET", f"{running.url}/page/models")
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert told["grpc_port"] == running.server.grpc_port
    (model,) = told["models"]
    assert model["manifest"]["name"] == "tiny"
    assert "labels" not in model["manifest"]
    assert (model["class_count"], model["labels"]) == (tiny.CLASSES, None)
    assert model["scores"] == {"name": "probabilities", "kind": "probabilities"}
    assert model["provider"] == "CPUExecutionProvider"
    assert model["max_batch_size"] == 8
    assert model["has_layers"] is False


async def test_model_without_probabilities(serve: Serve, tmp_path: Path) -> None:
    """
    The answer of a model without probabilities has labels, too.
    """
    tiny.write(tmp_path, "raw", outputs=(OutputTensor(name="logits", kind="logits"),))
    async with serve() as running:
        models = (await ask("GET", f"{running.url}/page/models")).json()["models"]
        (raw,) = (model for model in models if model["manifest"]["name"] == "raw")
        assert raw["scores"] == {"name": "logits", "kind": "logits"}
        assert raw["labels"] == [f"class {index}" for index in range(tiny.CLASSES)]


async def test_layers(serve: Serve, tmp_path: Path) -> None:
    """
    The layers are those of the artifact; one that has none says how it gets them.
    """
    async with serve() as running:
        refused = await ask("GET", f"{running.url}{VERSION}/layers")
        assert "convoy describe tiny --save" in check_error(refused, 501, "UNSUPPORTED")
        missing = await ask("GET", f"{running.url}/page/models/huge/versions/1/layers")
        check_error(missing, 404, "MODEL_NOT_FOUND")
    manifest = tiny.write(tmp_path, "described")
    write_layers(tmp_path / "described" / "1", FOUND, manifest.model_sha256)
    async with serve() as running:
        answer = await ask("GET", f"{running.url}/page/models/described/versions/1/layers")
        assert answer.json() == json.loads(json.dumps(FOUND.as_dict()))


async def test_preview(serve: Serve, tmp_path: Path) -> None:
    """
    The preview shows the network's input as PNG, in the colours of the image.
    """
    spec = Preprocessing(color="BGR", resize_px=4, crop_height_px=4, crop_width_px=4)
    wide = tiny.manifest().input.model_copy(update={"channels": 3})
    normalization = Normalization(mean=(0.5,) * 3, std=(0.5,) * 3, where="graph")
    async with serve() as running:
        answer = await ask("POST", f"{running.url}{VERSION}/preview", png(7))
        assert answer.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(answer.body)) as seen:
            assert np.array_equal(np.asarray(seen)[:, :, None], tiny.pixels(7)[0])
        wrong = await ask("POST", f"{running.url}{VERSION}/preview", b"no image")
        check_error(wrong, 400, "INVALID_IMAGE")
        model = running.server.registry.get("tiny")
        model.manifest = model.manifest.model_copy(
            update={"preprocessing": spec, "input": wide, "normalization": normalization}
        )
        red = encode(Image.new("RGB", (8, 8), "red"))
        answer = await ask("POST", f"{running.url}{VERSION}/preview", red)
        with Image.open(io.BytesIO(answer.body)) as seen:
            assert (seen.size, seen.getpixel((0, 0))) == ((4, 4), (255, 0, 0))


async def test_limits_of_a_preview(serve: Serve) -> None:
    """
    A preview is held to the limits that an inference is held to.
    """
    async with serve(max_image_bytes=1000, max_message_bytes=2000) as running:
        answer = await ask("POST", f"{running.url}{VERSION}/preview", png(1) + bytes(1200))
        check_error(answer, 400, "IMAGE_TOO_LARGE")
        answer = await ask("POST", f"{running.url}{VERSION}/preview", bytes(3000))
        check_error(answer, 413, "REQUEST_TOO_LARGE")


async def test_history(running: Running) -> None:
    """
    The last ten minutes come as samples; who names a number gets those from it on.
    """
    running.server.history.take()
    async with Connection(running.url) as connection:
        told = (await connection.ask("GET", "/page/history")).json()
        assert told["first"] == 0
        assert told["samples"][0]["models"]["tiny"]["queue_depth"] == 0
        count = len(told["samples"])
        later = (await connection.ask("GET", f"/page/history?since={count}")).json()
        assert later["first"] == count
        for wrong in ("-1", "x", "1" * 30, "%C2%B2"):
            answer = await connection.ask("GET", f"/page/history?since={wrong}")
            check_error(answer, 400, "INVALID_ARGUMENT")


async def test_comparison(serve: Serve, tmp_path: Path) -> None:
    """
    The page gets the file of convoy compare unchanged, or null if there is none.
    """
    file = tmp_path / "comparison.json"
    content = {"schema_version": COMPARISON_VERSION, "networks": []}
    file.write_text(json.dumps(content))
    async with serve() as running:
        assert (await ask("GET", f"{running.url}/page/comparison")).json() is None
    async with serve(comparison_file=str(file)) as running:
        assert (await ask("GET", f"{running.url}/page/comparison")).json() == content


def test_version_of_comparisons() -> None:
    """
    The server takes the files that `convoy compare` writes.
    """
    assert Comparison.model_fields["schema_version"].default == COMPARISON_VERSION


@pytest.mark.parametrize("content", [None, "{", "[]", '{"schema_version": 1}'])
async def test_wrong_comparison(tmp_path: Path, content: str | None) -> None:
    """
    A file that is missing, damaged or of an older version is refused at the start.
    """
    file = tmp_path / "comparison.json"
    if content:
        file.write_text(content)
    with pytest.raises(StartError, match=r"comparison\.json"):
        Server(Settings(comparison_file=str(file)))
