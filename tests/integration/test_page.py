"""The page's files and its routes; tests/page runs the page in a browser."""

import io
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

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
from tests.harness import averaging, tiny
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
    assert model["class_count"] == tiny.CLASSES
    assert model["scores"] == {"name": "probabilities", "kind": "probabilities"}
    assert model["provider"] == "CPUExecutionProvider"
    assert model["max_batch_size"] == 8
    assert model["has_layers"] is False


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


async def ask_models(running: Running, image: bytes, *models: str) -> list[Any]:
    """Ask models, each by `NAME/VERSION`, as the page does."""
    query = "&".join(f"model={model}" for model in models)
    answer = await ask("POST", f"{running.url}/page/answers?{query}", image)
    assert answer.status == 200, answer.body
    return list(answer.json()["answers"])


async def test_answers(serve: Serve, tmp_path: Path) -> None:
    """
    One upload is answered by several models, one without probabilities among them; one that is not
    there fails alone, and each answer is counted for its model.
    """
    tiny.write(tmp_path, "raw", outputs=(OutputTensor(name="logits", kind="logits"),))
    async with serve() as running:
        asked = ("tiny/1", "gone/1", "tiny/one", "raw/1")
        first, *missing, raw = await ask_models(running, png(3), *asked)
        for answer in missing:
            assert (answer["status"], answer["reason"]) == (404, "MODEL_NOT_FOUND")
        for name, answer in {"tiny": first, "raw": raw}.items():
            assert (answer["model"], answer["model_version"]) == (name, 1)
            assert answer["predictions"][0]["label"] == "class 3"
            assert answer["provider"] == "CPUExecutionProvider"
        metrics = (await ask("GET", f"{running.url}/metrics")).body.decode()
        for name in ("tiny", "raw", "unknown"):
            assert f'method="Classify",model="{name}"' in metrics


@pytest.mark.parametrize("count", [0, 257])
async def test_answers_of_no_models(running: Running, count: int) -> None:
    """
    A query that names no models, or too many, is refused.
    """
    query = "&".join(["model=tiny/1"] * count)
    answer = await ask("POST", f"{running.url}/page/answers?{query}", png(3))
    assert "it must name 1 to 256" in check_error(answer, 400, "INVALID_ARGUMENT")


async def test_preview(serve: Serve, tmp_path: Path) -> None:
    """
    With each answer comes the network's input as PNG, in the colours of the image.
    """
    spec = Preprocessing(color="BGR", resize_px=4, crop_height_px=4, crop_width_px=4)
    wide = tiny.manifest().input.model_copy(update={"channels": 3})
    normalization = Normalization(mean=(0.5,) * 3, std=(0.5,) * 3, where="graph")
    async with serve() as running:
        (answer,) = await ask_models(running, png(7), "tiny/1")
        with Image.open(io.BytesIO(b64decode(answer["preview"]))) as seen:
            assert np.array_equal(np.asarray(seen)[:, :, None], tiny.pixels(7)[0])
        (wrong,) = await ask_models(running, b"no image", "tiny/1")
        assert (wrong["status"], wrong["reason"]) == (400, "INVALID_IMAGE")
        model = running.server.registry.get("tiny")
        model.manifest = model.manifest.model_copy(
            update={"preprocessing": spec, "input": wide, "normalization": normalization}
        )
        red = encode(Image.new("RGB", (8, 8), "red"))
        # The graph could not run such an input.
        with Image.open(io.BytesIO(await model.preview(red))) as seen:
            assert (seen.size, seen.getpixel((0, 0))) == ((4, 4), (255, 0, 0))


async def test_answers_without_preview(running: Running) -> None:
    """
    A query may leave out the images that the networks see; what it says of them is checked.
    """
    (answer,) = await ask_models(running, png(7), "tiny/1&preview=false")
    assert answer["preview"] is None
    assert answer["predictions"][0]["label"] == "class 2"
    refused = await ask("POST", f"{running.url}/page/answers?model=tiny/1&preview=no", png(7))
    assert "expected true or false" in check_error(refused, 400, "INVALID_ARGUMENT")


async def test_occlusion(running: Running) -> None:
    """
    The parts that an answer depends on are found by hiding them, in as few runs as batches allow.
    """
    answer = await ask("POST", f"{running.url}{VERSION}/occlusion", png(77))
    assert answer.status == 200, answer.body
    found = answer.json()
    assert (found["patch"], found["rows"], found["columns"]) == ([1, 1], [0, 1, 2, 3], [0, 1, 2, 3])
    assert found["predictions"][0]["label"] == "class 2"
    falls = np.array(found["falls"])
    assert falls.shape == (tiny.CLASSES, 4, 4)
    # The network sees the first pixel alone; with the mean of the image there, it says class 4.
    assert falls[0, 0, 0] == pytest.approx(1, abs=1e-3)
    assert falls[found["predictions"].index(told(found, "class 4")), 0, 0] < -0.99
    assert np.count_nonzero(falls[:, 0, 0]) >= 2
    falls[:, 0, 0] = 0
    assert not falls.any()
    assert found["images"] == 17
    assert found["seconds"] > 0
    counted = {"code": "OK", "model": "tiny"}
    assert running.sample("convoy_requests_total", method="PageOcclusion", **counted) == 1
    # The image itself, and 16 copies in batches of 8.
    assert running.sample("convoy_requests_total", method="ModelInfer", **counted) == 3


def told(found: dict[str, Any], label: str) -> Any:
    """The prediction of a class."""
    return next(one for one in found["predictions"] if one["label"] == label)


async def test_occlusion_of_a_bad_image(running: Running) -> None:
    """
    An image that cannot be decoded is refused, and so is a model that is not there.
    """
    answer = await ask("POST", f"{running.url}{VERSION}/occlusion", b"no image")
    check_error(answer, 400, "INVALID_IMAGE")
    missing = await ask("POST", f"{running.url}/page/models/huge/versions/1/occlusion", png(3))
    check_error(missing, 404, "MODEL_NOT_FOUND")


async def test_class_maps(serve: Serve, tmp_path: Path) -> None:
    """
    The mean of each class's map and its bias are the logit of the class; a network that averages no
    maps says why it has none, and the page knows before it asks.
    """
    averaging.write(tmp_path)
    image = averaging.images(1)
    async with serve() as running:
        path = f"{running.url}/page/models/averaging/versions/1/class-maps"
        answer = await ask("POST", path, encode(Image.fromarray(image[0, :, :, 0])))
        assert answer.status == 200, answer.body
        found = answer.json()
        logits = averaging.logits(averaging.graph(averaging.FORMS["gemm"]), image)[0]
        classes = [one["class_index"] for one in found["predictions"]]
        assert classes == np.argsort(-logits).tolist()
        maps = np.array(found["maps"])
        assert maps.shape == (tiny.CLASSES, 4, 4)
        means = maps.mean(axis=(1, 2)) + np.array(found["biases"])
        assert means == pytest.approx(logits[classes], abs=1e-4)
        assert found["scores"] == pytest.approx(logits[classes], abs=1e-4)
        assert (found["images"], found["seconds"] > 0) == (2, True)
        # The memory of the second session is given back.
        assert running.server.registry.borrowed_bytes == 0
        counted = {"code": "OK", "model": "averaging"}
        assert running.sample("convoy_requests_total", method="PageClassMaps", **counted) == 1
        assert running.sample("convoy_requests_total", method="ModelInfer", **counted) == 1
        check_error(await ask("POST", path, b"no image"), 400, "INVALID_IMAGE")
        refused = await ask("POST", f"{running.url}{VERSION}/class-maps", png(3))
        reason = check_error(refused, 501, "UNSUPPORTED")
        assert reason.endswith("use occlusion")
        told = (await ask("GET", f"{running.url}/page/models")).json()["models"]
        without = {one["manifest"]["name"]: one["no_class_maps"] for one in told}
        assert without["averaging"] == ""
        assert without["tiny"] in reason


async def test_class_maps_within_the_memory_budget(serve: Serve, tmp_path: Path) -> None:
    """
    The graph is not opened a second time if that would exceed the memory budget.
    """
    averaging.write(tmp_path)
    path = "/page/models/averaging/versions/1/class-maps"
    image = encode(Image.fromarray(averaging.images(1)[0, :, :, 0]))
    for budget, status in ((14_000, 429), (15_000, 200)):
        async with serve(memory_budget=budget) as running:
            answer = await ask("POST", running.url + path, image)
            assert answer.status == status
            if status == 429:
                assert "needs 5000 bytes" in check_error(answer, 429, "MEMORY_BUDGET_EXCEEDED")


async def test_limits_of_answers(serve: Serve) -> None:
    """
    The page's requests are held to the limits of an inference, and the page is told the first.
    """
    async with serve(max_image_bytes=1000, max_message_bytes=2000) as running:
        told = (await ask("GET", f"{running.url}/page/models")).json()
        assert told["max_image_bytes"] == 1000
        (answer,) = await ask_models(running, png(1) + bytes(1200), "tiny/1")
        assert (answer["status"], answer["reason"]) == (400, "IMAGE_TOO_LARGE")
        answer = await ask("POST", f"{running.url}/page/answers?model=tiny/1", bytes(3000))
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
