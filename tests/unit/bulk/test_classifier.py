"""The object that engines call: opening, containers, bad images, streams."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from convoy.artifact.errors import ArtifactError, RepositoryError
from convoy.artifact.files import Artifact, read_artifact
from convoy.artifact.golden import Golden
from convoy.bulk import Classifier, classifier
from convoy.bulk.images import to_inputs
from convoy.service.errors import GoldenDriftError, InvalidArgumentError
from tests.harness import tiny
from tests.harness.images import encode, gradient, png
from tests.harness.lenet import LENET

FIRSTS = [3, 14, 27]
"""First pixels of the images of a batch."""

LABELS = ["class 3", "class 4", "class 2"]


@pytest.fixture
def tiny_artifact(tmp_path: Path) -> Path:
    """The folder of a tiny artifact."""
    tiny.write(tmp_path)
    return tmp_path / "tiny/1"


@pytest.fixture
def batch() -> list[bytes]:
    """Encoded images, of which the second is damaged."""
    images = [png(first) for first in FIRSTS]
    images[1] = images[1][:-20]
    return images


def test_needs_no_server_and_no_engine() -> None:
    """
    Classifying needs none of the packages of the server, the commands, training or engines.
    """
    absent = ["click", "fsspec", "google.protobuf", "grpc", "h11", "pandas", "prometheus_client"]
    absent += ["pyarrow", "rich", "starlette", "torch", "uvicorn"]
    program = f"""
import sys
for name in {absent!r}:
    sys.modules[name] = None
from convoy.bulk import Classifier
print(Classifier({str(LENET)!r})(["examples/images/three.png"])["label"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "['3']\n", done.stderr


def test_opened_once_per_process(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Making and pickling open nothing; copies, in threads, share one session.
    """
    opened: list[Path] = []

    def read(path: Path) -> Artifact:
        opened.append(path)
        return read_artifact(path)

    monkeypatch.setattr(classifier, "read_artifact", read)
    one = pickle.loads(pickle.dumps(Classifier(tiny_artifact)))
    assert not opened
    barrier = threading.Barrier(4)

    def use() -> str:
        barrier.wait()
        return str(pickle.loads(pickle.dumps(one))([png(3)])["label"])

    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(use) for _ in range(4)]
        assert {future.result() for future in futures} == {"['class 3']"}
    assert opened == [tiny_artifact]


def test_damaged_artifact_is_refused(tiny_artifact: Path) -> None:
    """
    The hash of the graph is verified.
    """
    (tiny_artifact / "model.onnx").write_bytes(b"")
    with pytest.raises(ArtifactError, match="SHA-256"):
        Classifier(tiny_artifact)([png(3)])


def test_drift_is_refused(tmp_path: Path) -> None:
    """
    The golden images are replayed.
    """
    right = tiny.right_golden()
    tiny.write(tmp_path, golden=Golden(right.images, right.logits[::-1].copy()))
    with pytest.raises(GoldenDriftError, match="drift"):
        Classifier(tmp_path / "tiny/1")([png(3)])


def test_artifact_in_a_store(tiny_artifact: Path) -> None:
    """
    A URL that fsspec reaches names an artifact.
    """
    store = fsspec.filesystem("memory")
    store.put(str(tiny_artifact), "/models/tiny/1", recursive=True)
    found = Classifier("memory://models/tiny/1")([png(14)])
    assert found["label"] == ["class 4"]


def test_absent_artifact(tmp_path: Path) -> None:
    """
    An artifact that does not exist is an error that names it, in a folder and in a store.
    """
    with pytest.raises(ArtifactError, match="No such file or directory"):
        Classifier(tmp_path / "none")([png(1)])
    with pytest.raises(RepositoryError, match="there is no artifact at memory://none/1"):
        Classifier("memory://none/1")([png(1)])


def test_wrong_top_k_is_refused_at_once() -> None:
    """
    The number of classes is checked before anything is sent to workers.
    """
    with pytest.raises(InvalidArgumentError, match="top_k is 1001"):
        Classifier("nowhere", top_k=1001)


def test_bad_images_are_rows(tiny_artifact: Path, tmp_path: Path) -> None:
    """
    Each bad image has a row with its reason, and no answer; its neighbours are answered.
    """
    (tmp_path / "folder").mkdir()
    shutil.copy("examples/images/photo.jpg", tmp_path / "photo.jpg")
    large = encode(Image.new("L", (26_000_000 // 4000, 4001)))
    images = [
        *(png(3), None, b"", b"no image", large, tmp_path / "photo.jpg", tmp_path / "absent.png"),
        *(
            tmp_path / "folder",
            np.zeros((4, 4, 2), np.uint8),
            np.zeros((4, 4), np.float32),
            png(14),
        ),
    ]
    found = Classifier(tiny_artifact)(images)
    assert found["error"] == [
        *(None, "INVALID_IMAGE", "INVALID_IMAGE", "INVALID_IMAGE", "IMAGE_TOO_LARGE", None),
        *("INPUT_NOT_FOUND", "INPUT_UNREADABLE", "INVALID_IMAGE", "INVALID_IMAGE", None),
    ]
    answered = [error is None for error in found["error"]]
    for name in ("label", "class_index", "probability"):
        assert [value is not None for value in found[name]] == answered
    assert [len(classes) for classes in found["top_k"]] == [5 * one for one in answered]
    assert found["label"][-1] == "class 4"


def test_names_that_no_file_has(tiny_artifact: Path, tmp_path: Path) -> None:
    """
    A text that is no path, such as base64, and a link that leads to itself, are rows.
    """
    (tmp_path / "photo.png").write_bytes(png(3))
    (tmp_path / "loop.png").symlink_to("loop.png")
    names = ["photo.png", "loop.png", "photo.png/1.png", "A" * 300, "A/" * 5000, "a\0b", "\ud800"]
    found = Classifier(tiny_artifact)([f"{tmp_path}/{name}" for name in names])
    assert found["error"] == [None, *["INPUT_NOT_FOUND"] * 6]


def test_failure_of_the_model_is_one_rows(tmp_path: Path) -> None:
    """
    An image that fails its batch, and one without finite scores, fail alone.
    """
    scores = {14: [np.nan] * tiny.CLASSES}
    tiny.write(tmp_path, model=tiny.graph(scores=scores))
    firsts = [3, tiny.POISON, 7, 14, 8]
    found = Classifier(tmp_path / "tiny/1")([png(first) for first in firsts])
    assert found["error"] == [None, "INFERENCE_FAILED", None, "SCORES_NOT_FINITE", None]
    assert found["label"] == ["class 3", None, "class 2", None, "class 3"]


def test_arrow_and_pandas(tiny_artifact: Path, batch: list[bytes]) -> None:
    """
    Tables keep their other columns and lose the images; each kind gets its own back.
    """
    pa, pd = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    one = Classifier(tiny_artifact, top_k=2)
    expected = one(batch)
    assert expected["label"] == [LABELS[0], None, LABELS[2]]
    data: dict[str, list[Any]] = {"key": [7, 8, 9], "photo": batch}
    table = pa.table(data)
    (record_batch,) = table.to_batches()
    for given, kind in ((pa.array(batch), pa.Table), (table, pa.Table), (record_batch, None)):
        arrow = one(given, "photo")
        assert isinstance(arrow, kind or pa.RecordBatch)
        keys = [] if isinstance(given, pa.Array) else ["key"]
        assert arrow.schema.names == [*keys, *expected]
        answers = arrow.to_pydict()
        assert {name: answers[name] for name in expected} == expected
    frame = one(pd.DataFrame(data, index=[4, 5, 6]), "photo")
    assert list(frame.columns) == ["key", *expected]
    assert list(frame.index) == [4, 5, 6]
    assert frame["class_index"].tolist() == [3, pd.NA, 2]
    assert one(pd.Series(batch))["label"].tolist() == expected["label"]
    columns = one({"key": np.arange(3), "photo": np.array(batch, object)}, "photo")
    assert columns["key"].tolist() == [0, 1, 2]
    assert columns["top_k"] == expected["top_k"]


@pytest.mark.parametrize("kind", ["str", "string", "object", None])
def test_missing_values_of_pandas(tiny_artifact: Path, tmp_path: Path, kind: str | None) -> None:
    """
    A missing path is a row without an answer, in whichever way pandas states that it is missing.
    """
    pd = pytest.importorskip("pandas")
    (tmp_path / "1.png").write_bytes(png(3))
    given = [f"{tmp_path}/1.png", None, np.nan, pd.NA]
    found = Classifier(tiny_artifact)(pd.DataFrame({"image": pd.Series(given, dtype=kind)}))
    assert found["error"].tolist() == [None, *["INVALID_IMAGE"] * 3]
    arrays = pd.Series([np.zeros((4, 4), np.uint8), None])
    assert Classifier(tiny_artifact)(arrays)["error"].tolist() == [None, "INVALID_IMAGE"]


def test_types_do_not_depend_on_rows(tiny_artifact: Path, batch: list[bytes]) -> None:
    """
    A batch of bad images only, and an empty one, have the types of any other.
    """
    pa = pytest.importorskip("pyarrow")
    one = Classifier(tiny_artifact)
    schema = one(pa.table({"image": batch})).schema
    assert one(pa.table({"image": [b"bad"]})).schema == schema
    empty = pa.table({"image": pa.array([], pa.binary())})
    assert one(empty).schema == schema
    record_batch = pa.record_batch({"image": pa.array([], pa.binary())})
    assert one(record_batch).equals(pa.record_batch([[]] * len(schema), schema=schema))


def test_version_with_a_large_number(tiny_artifact: Path) -> None:
    """
    Versions may be numbered by date and time, which takes more than 32 bits.
    """
    pa, pd = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    number = 202611302359
    one = Classifier(tiny.renumber(tiny_artifact, number))
    assert one(pa.table({"image": [png(3)]})).to_pydict()["version"] == [number]
    assert one(pd.DataFrame({"image": [png(3)]}))["version"].tolist() == [number]


def test_wrong_columns(tiny_artifact: Path) -> None:
    """
    An absent column is named, and a column of the user's is never replaced by an answer's.
    """
    one = Classifier(tiny_artifact)
    with pytest.raises(ValueError, match="no column 'photo': it has id, image"):
        one({"id": [1], "image": [png(3)]}, "photo")
    with pytest.raises(ValueError, match="rename the column 'label'"):
        one({"label": ["cat"], "image": [png(3)]})


def test_one_image_is_no_batch(tiny_artifact: Path) -> None:
    """
    A path or encoded bytes without a list around them are not taken for many images.
    """
    image: Any
    for image in ("photo.png", Path("photo.png"), png(3), {"image": "photo.png"}):
        with pytest.raises(ValueError, match="the batch is one image: put it into a list"):
            Classifier(tiny_artifact)(image)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pixels_are_as_their_image(mode: str) -> None:
    """
    Pixels, and a PNG of them, have the same answer; Hugging Face's structs have that of the PNG.
    """
    image = gradient(mode)
    encoded = encode(image)
    pixels = np.asarray(image)
    images = [encoded, pixels, {"bytes": encoded, "path": None}]
    images += [pixels[:, :, None]] if mode == "L" else []
    found = Classifier(LENET)(images)
    assert found["error"] == [None] * len(images)
    assert len(set(found["probability"])) == 1


def test_streams_are_not_collected(tiny_artifact: Path) -> None:
    """
    At most two batches, of 8 here, are taken from a stream before the first answer.
    """
    taken = 0

    def stream() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield png(3)

    answers = Classifier(tiny_artifact).answers(stream())
    next(answers)
    assert taken == 16
    assert len(list(answers)) == 99


def test_threads_are_those_that_the_engine_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Engines state their grant in OMP_NUM_THREADS; the system's limit holds in any case.
    """
    monkeypatch.setattr(classifier, "usable_cpus", lambda: 4)
    for granted, threads in (("3", 3), ("64", 4), ("0", 4), ("many", 4)):
        monkeypatch.setenv("OMP_NUM_THREADS", granted)
        assert classifier.granted_threads() == threads
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert classifier.granted_threads() == 4


@pytest.mark.parametrize(
    ("threads", "place", "is_ahead"),
    [(1, "memory", False), (1, "file", True), (1, "store", True), (2, "memory", True)],
)
def test_where_images_are_decoded(
    tiny_artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    threads: int,
    place: str,
    is_ahead: bool,
) -> None:
    """
    A thread decodes ahead, unless it would share the only core and wait for nothing.
    """
    decoders = list[str]()

    def spy(*arguments: Any) -> Any:
        decoders.append(threading.current_thread().name)
        return to_inputs(*arguments)

    monkeypatch.setattr(classifier, "to_inputs", spy)
    url = "memory://decoded/3.png"
    fsspec.filesystem("memory").pipe(url, png(3))
    (tmp_path / "3.png").write_bytes(png(3))
    image = {"memory": png(3), "file": tmp_path / "3.png", "store": url}[place]
    assert Classifier(tiny_artifact, threads=threads)([image])["label"] == ["class 3"]
    assert [name.startswith("decode") for name in decoders] == [is_ahead]
