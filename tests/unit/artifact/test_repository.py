import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convoy.artifact.errors import ArtifactError, RepositoryError
from convoy.artifact.files import file_sha256
from convoy.artifact.golden import Golden
from convoy.artifact.repository import ModelRepository
from tests.harness import tiny


def test_write_then_read(tmp_path: Path) -> None:
    """
    An artifact that was written is found and whole.
    """
    manifest = tiny.write(tmp_path)
    repository = ModelRepository(tmp_path)
    assert repository.names() == ["tiny"]
    assert repository.versions("tiny") == [1]
    artifact = repository.read("tiny", 1)
    assert artifact.manifest == manifest
    assert artifact.golden.images.shape == (4, 4, 4, 1)


def test_parser_that_another_thread_disturbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A whole file is read again if CPython's parser fails on it once.
    """
    tiny.write(tmp_path)
    load, failures = np.load, [SystemError("AST constructor recursion depth mismatch")]

    def disturbed(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return load(*arguments, **options)

    monkeypatch.setattr(np, "load", disturbed)
    assert len(ModelRepository(tmp_path).read("tiny", 1).golden.images) == 4
    assert not failures


def test_versions_count_up(tmp_path: Path) -> None:
    """
    Each writing is a new version; numbers sort as numbers.
    """
    for _ in range(11):
        tiny.write(tmp_path)
    assert ModelRepository(tmp_path).versions("tiny") == list(range(1, 12))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_interrupted_writing_is_invisible(tmp_path: Path, error: type[BaseException]) -> None:
    """
    A writing that fails, or meets Ctrl-C, is never visible and leaves no file behind.
    """
    repository = ModelRepository(tmp_path)

    def write_half() -> None:
        with repository.writing("tiny") as (folder, _):
            (folder / "model.onnx").write_bytes(b"half")
            assert repository.names() == []
            raise error

    with pytest.raises(error):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_two_writers_at_once(tmp_path: Path) -> None:
    """
    The second of two writers with the same number fails and changes nothing.
    """
    repository = ModelRepository(tmp_path)

    def write_during_another() -> None:
        with repository.writing("tiny") as (folder, _):
            (folder / "model.onnx").write_bytes(b"second")
            tiny.write(tmp_path)

    with pytest.raises(RepositoryError, match="tiny/1: another writer has taken this version"):
        write_during_another()
    assert repository.read("tiny", 1).manifest.version == 1


def test_folders_that_are_no_models(tmp_path: Path) -> None:
    """
    Files, hidden folders and half-written versions are passed over.
    """
    tiny.write(tmp_path)
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "tiny" / ".writing-x").mkdir()
    repository = ModelRepository(tmp_path)
    assert repository.names() == ["tiny"]
    assert repository.versions("tiny") == [1]


@pytest.mark.parametrize("name", ["..", "../tiny", "../../models/tiny", "/etc", ""])
def test_names_that_climb_out(tmp_path: Path, name: str) -> None:
    """
    No name reaches a folder outside of the repository.
    """
    tiny.write(tmp_path / "models")
    (tmp_path / "models" / "inner").mkdir()
    repository = ModelRepository(tmp_path / "models" / "inner")
    assert repository.versions(name) == []
    with pytest.raises(ArtifactError, match="no version 1 of model"):
        repository.read(name, 1)


def test_abandoned_writings_are_removed(tmp_path: Path) -> None:
    """
    The files of a killed writer are removed by the next; those of a running one are not.
    """
    repository = ModelRepository(tmp_path)
    (tmp_path / "tiny" / ".writing-dead").mkdir(parents=True)
    (tmp_path / "tiny" / ".writing-dead" / "model.onnx").write_bytes(b"half")

    def write_during_another() -> None:
        with repository.writing("tiny") as (folder, _):
            tiny.write(tmp_path)
            assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == [folder.name, "1"]

    with pytest.raises(RepositoryError, match="cannot write"):
        write_during_another()  # the other one took its number


def _replace(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return replace


def _truncate_model(folder: Path) -> None:
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:100])


def _edit_manifest(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.onnx").unlink(), r"model\.onnx is missing"),
        (lambda folder: (folder / "golden.npz").unlink(), r"golden\.npz is missing"),
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest\.json is missing"),
        (lambda folder: (folder / "model.onnx.data").touch(), r"model\.onnx\.data does not belong"),
        (_replace("model.onnx", Path.mkdir), r"model\.onnx: not a file"),
        (
            _replace("golden.npz", lambda path: path.symlink_to("gone")),
            r"golden\.npz: not a file",
        ),
        (_replace("manifest.json", os.mkfifo), r"manifest\.json: not a file"),
        (_truncate_model, "SHA-256 is"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json: "),
        (_edit_manifest(model_sha256="0" * 64), "model_sha256 in the manifest is 0000"),
        (_edit_manifest(labels=["only one"]), r"manifest\.json: labels: "),
        (_edit_manifest(surprise=1), r"manifest\.json: surprise: "),
        (_edit_manifest(name="other"), "the manifest states other version 1"),
        (_edit_manifest(version=2), "the manifest states tiny version 2"),
        (lambda folder: (folder / "golden.npz").write_bytes(b"PK"), r"golden\.npz: SHA-256 is"),
        (_edit_manifest(golden_sha256="0" * 64), "golden_sha256 in the manifest is 0000"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    """
    A damaged artifact is refused with the file and the field in the message.
    """
    tiny.write(tmp_path)
    damage(tmp_path / "tiny" / "1")
    with pytest.raises(ArtifactError, match=message):
        ModelRepository(tmp_path).read("tiny", 1)


@pytest.mark.parametrize(
    ("golden", "message"),
    [
        (Golden(np.zeros((1, 2), np.uint8), np.zeros((1, 5), np.float32)), r"shape \[1, 2\]"),
        (Golden(np.zeros((0, 4, 4, 1), np.uint8), np.zeros((0, 5), np.float32)), "shape"),
        (Golden(np.zeros((1, 4, 4, 1)), np.zeros((1, 5), np.float32)), "images are float64"),
        (Golden(np.zeros((1, 4, 4, 1), np.uint8), np.zeros((1, 4), np.float32)), "logits have"),
        (Golden(np.zeros((1, 4, 4, 1), np.uint8), np.full((1, 5), np.nan, np.float32)), "finite"),
    ],
)
def test_golden_answers_that_do_not_fit(tmp_path: Path, golden: Golden, message: str) -> None:
    """
    Golden images and answers must be those of the model that the manifest describes.
    """
    tiny.write(tmp_path, golden=golden)
    with pytest.raises(ArtifactError, match=message):
        ModelRepository(tmp_path).read("tiny", 1)


def test_damaged_golden_file(tmp_path: Path) -> None:
    """
    A file with the right hash and damaged content is refused, or read without another error.
    """
    tiny.write(tmp_path)
    folder = tmp_path / "tiny" / "1"
    whole = (folder / "golden.npz").read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << random.integers(8)
        (folder / "golden.npz").write_bytes(damaged)
        _edit_manifest(golden_sha256=file_sha256(folder / "golden.npz"))(folder)
        try:
            ModelRepository(tmp_path).read("tiny", 1)
        except ArtifactError:  # and no other error
            refused += 1
    assert refused > 100  # some bits are of no consequence, such as those of times


def test_each_missing_field_is_named(tmp_path: Path) -> None:
    """
    The message names the field that a manifest lacks.
    """
    tiny.write(tmp_path)
    path = tmp_path / "tiny" / "1" / "manifest.json"
    whole = json.loads(path.read_text())
    optional = {
        *("schema_version", "max_batch_size", "training", "weights", "skipped_images"),
        *("evaluations", "calibration", "quantization", "memory"),
    }
    for field in whole.keys() - optional:
        path.write_text(json.dumps({key: whole[key] for key in whole if key != field}))
        with pytest.raises(ArtifactError, match=rf"manifest\.json: {field}: Field required"):
            ModelRepository(tmp_path).read("tiny", 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("path", ["tiny/1/model.onnx", "tiny/1", "tiny", "."])
def test_without_permission(tmp_path: Path, path: str) -> None:
    """
    A file without permission to read is an error that names it.
    """
    tiny.write(tmp_path)
    (tmp_path / path).chmod(0)
    try:
        with pytest.raises((ArtifactError, RepositoryError), match="Permission denied"):
            ModelRepository(tmp_path).read("tiny", 1)
    finally:
        (tmp_path / path).chmod(0o755)


def test_unreadable_repository(tmp_path: Path) -> None:
    """
    A missing repository is an error that names it, and the command that creates a model.
    """
    with pytest.raises(RepositoryError, match=r"nowhere: No such .* `convoy export lenet5`"):
        ModelRepository(tmp_path / "nowhere").names()


def test_unwritable_repository(tmp_path: Path) -> None:
    """
    A repository without permission to write is an error before any work is done.
    """
    (tmp_path / "file").touch()
    with pytest.raises(RepositoryError, match="cannot write to the model repository"):
        ModelRepository(tmp_path / "file" / "models").check_writable("tiny")


def test_name_that_is_a_file(tmp_path: Path) -> None:
    """
    A model's folder that cannot be written is an error before any work is done.
    """
    (tmp_path / "tiny").touch()
    with pytest.raises(RepositoryError, match="tiny"):
        ModelRepository(tmp_path).check_writable("tiny")


def test_folder_that_is_an_artifact_itself(tmp_path: Path) -> None:
    """
    A flat folder is a repository of one model, under its own name or another one.
    """
    manifest = tiny.write(tmp_path)
    flat = tmp_path / "tiny" / "1"
    repository = ModelRepository(flat)
    assert (repository.names(), repository.versions("tiny")) == (["tiny"], [1])
    assert repository.read("tiny", 1).manifest == manifest
    assert repository.signature("tiny", 1) == ModelRepository(tmp_path).signature("tiny", 1)
    renamed = ModelRepository(flat, "digits")
    assert (renamed.names(), renamed.versions("tiny")) == (["digits"], [])
    assert renamed.read("digits", 1).manifest.name == "digits"
    with pytest.raises(RepositoryError, match="is an artifact, not a folder of models"):
        renamed.check_writable("digits")


def test_flat_folder_with_a_bad_manifest(tmp_path: Path) -> None:
    """
    A manifest that cannot be read is an error, not an empty repository.
    """
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(RepositoryError, match=r"manifest\.json"):
        ModelRepository(tmp_path).names()


@pytest.mark.parametrize("link", ["model", "version", "file"])
def test_links_out_of_the_repository(tmp_path: Path, link: str) -> None:
    """
    A symbolic link that leads elsewhere is refused; one that stays inside is followed.
    """
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    tiny.write(inside)
    tiny.write(outside)
    places = {"model": "tiny", "version": "tiny/1", "file": "tiny/1/model.onnx"}
    place = places[link]
    (inside / place).rename(inside / "kept")
    (inside / place).symlink_to(outside / place)
    with pytest.raises(ArtifactError, match="leads out of the repository"):
        ModelRepository(inside).read("tiny", 1)
    (inside / place).unlink()
    (inside / place).symlink_to(inside / "kept")
    assert ModelRepository(inside).read("tiny", 1).manifest.name == "tiny"


def test_signature_changes_with_the_files(tmp_path: Path) -> None:
    """
    Any change of any file changes the signature; looking does not.
    """
    tiny.write(tmp_path)
    repository = ModelRepository(tmp_path)
    seen = {repository.signature("tiny", 1)}
    assert repository.signature("tiny", 1) in seen
    for file in ("model.onnx", "manifest.json", "golden.npz"):
        path = tmp_path / "tiny" / "1" / file
        path.write_bytes(path.read_bytes() + b" ")
        seen.add(repository.signature("tiny", 1))
    assert len(seen) == 4


def test_many_prove_at_once_that_they_can_write(tmp_path: Path) -> None:
    """
    The processes of one training check at the same time; none disturbs another, and none leaves
    a folder.
    """
    repository = ModelRepository(tmp_path / "models")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(repository.check_writable, ["tiny"] * 400))
    assert not list(repository.root.iterdir())


FOREIGN = [
    *("lost+found", "..data", "..2026_11_30_05_44_52.123", ".DS_Store", "._model.onnx", ".gitkeep"),
    *(".nfs00000001", "__MACOSX", ".ipynb_checkpoints", ".model.onnx.swp", "model.onnx~", "#a#"),
    *(
        ".#manifest.json",
        "Thumbs.db",
        "desktop.ini",
        "@eaDir",
        "a_$folder$",
        "x.part",
        "model.onnx:Zone.Identifier",
    ),
]


@pytest.mark.parametrize("kind", ["folder", "closed folder", "file", "link to nowhere"])
@pytest.mark.parametrize("place", ["", "tiny", "tiny/1"])
def test_entries_of_other_programs(tmp_path: Path, place: str, kind: str) -> None:
    """
    Entries of file systems, Kubernetes, viewers and editors are skipped in every folder.
    """
    manifest = tiny.write(tmp_path)
    repository = ModelRepository(tmp_path)
    before = repository.signature("tiny", 1)
    for name in FOREIGN:
        path = tmp_path / place / name
        if kind == "link to nowhere":
            path.symlink_to("gone")
        elif kind == "file":
            path.touch()
        else:
            path.mkdir(mode=0 if kind == "closed folder" else 0o755)
    assert (repository.names(), repository.versions("tiny")) == (["tiny"], [1])
    assert repository.read("tiny", 1).manifest == manifest
    assert repository.signature("tiny", 1) == before
    assert repository.misnamed() == []


def test_folders_that_hold_no_model(tmp_path: Path) -> None:
    """
    An empty folder with a model's name is reported; one with files, such as documents, is not.
    """
    (tmp_path / "empty").mkdir()
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "readme.md").touch()
    (found,) = ModelRepository(tmp_path).misnamed()
    assert (found.model, found.version) == ("empty", "")
    folder = tmp_path / "empty"
    assert found.reason == (
        f"{folder}: the folder is empty; add an artifact as {folder}/1, or remove the folder"
    )


def test_version_with_too_many_digits(tmp_path: Path) -> None:
    """
    The largest version is served; the reason for a larger one names the largest.
    """
    tiny.write(tmp_path)
    for name in ("9" * 18, "1" + "0" * 18):
        (tmp_path / "tiny" / name).mkdir()
    repository = ModelRepository(tmp_path)
    assert repository.versions("tiny") == [1, 10**18 - 1]
    (found,) = repository.misnamed()
    assert found.reason == (
        f"{tmp_path}/tiny/1{'0' * 18}: a version is a number from 1 on, and at most "
        "999999999999999999; rename the folder to a number that is free, such as 2"
    )


def test_entries_of_other_programs_in_a_flat_folder(tmp_path: Path) -> None:
    """
    An artifact on a volume of its own has the file system's folders beside its files.
    """
    tiny.write(tmp_path)
    flat = tmp_path / "tiny" / "1"
    for name in FOREIGN:
        (flat / name).mkdir()
    assert ModelRepository(flat, "digits").read("digits", 1).manifest.name == "digits"


def _mount(folder: Path, paths: list[str], source: Path, stamp: str) -> None:
    """Mount files as Kubernetes mounts a ConfigMap or a Secret, or replace their content."""
    data = folder / f"..2026_11_30_05_44_{stamp}"
    for path in paths:
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / path, data / path)
    (folder / "..data_tmp").symlink_to(data.name)
    (folder / "..data_tmp").rename(folder / "..data")
    for top in {path.split("/")[0] for path in paths}:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(f"..data/{top}")


@pytest.mark.parametrize("place", ["tiny/1", "tiny", ""])
def test_config_map(tmp_path: Path, place: str) -> None:
    """
    An artifact loads from a ConfigMap, mounted at a version, a model or the whole repository.
    """
    source, mounted = tmp_path / "source", tmp_path / "mounted"
    manifest = tiny.write(source)
    (mounted / place).mkdir(parents=True)
    files = [file.relative_to(source / place) for file in (source / "tiny/1").iterdir()]
    paths = [str(file) for file in files]
    _mount(mounted / place, paths, source / place, "52.1")
    repository = ModelRepository(mounted)
    assert (repository.names(), repository.versions("tiny")) == (["tiny"], [1])
    assert repository.read("tiny", 1).manifest == manifest
    assert repository.misnamed() == []
    before = repository.signature("tiny", 1)
    _mount(mounted / place, paths, source / place, "53.2")
    assert repository.signature("tiny", 1) != before
    assert repository.read("tiny", 1).manifest == manifest


@pytest.mark.parametrize(
    ("version", "remedy"),
    [
        ("002", "rename the folder to 2"),
        ("v2", "rename the folder to 2"),
        ("v02", "rename the folder to 2"),
        ("version-3", "rename the folder to 3"),
        ("2.0", "rename the folder to 2"),
        # Version 1 exists.
        ("001", "rename the folder to a number that is free, such as 2"),
        ("v1", "rename the folder to a number that is free, such as 2"),
        # These state no number of a version.
        ("0", "rename the folder to a number that is free, such as 2"),
        ("1.5", "rename the folder to a number that is free, such as 2"),
        ("-3", "rename the folder to a number that is free, such as 2"),
        ("3e1", "rename the folder to a number that is free, such as 2"),
        ("\uff11", "rename the folder to a number that is free, such as 2"),
        ("1" * 19, "rename the folder to a number that is free, such as 2"),
        ("latest", "remove this folder: the highest number is served as the latest version"),
    ],
)
def test_misnamed_version(tmp_path: Path, version: str, remedy: str) -> None:
    """
    A folder that is no version is reported with the rule and the remedy; others serve.
    """
    tiny.write(tmp_path)
    shutil.copytree(tmp_path / "tiny/1", tmp_path / "tiny" / version)
    repository = ModelRepository(tmp_path)
    assert repository.versions("tiny") == [1]
    (found,) = repository.misnamed()
    assert (found.model, found.version) == ("tiny", version)
    assert found.reason.startswith(f"{tmp_path}/tiny/{version}: a version is a number from 1 on")
    assert found.reason.endswith(f"; {remedy}")


@pytest.mark.parametrize(
    ("model", "remedy"),
    [
        ("LeNet5", "rename the folder to lenet5,"),
        ("my model", "rename the folder to my-model,"),
        ("_x", "rename the folder to x,"),
        ("Größe", "rename the folder to groe,"),
        ("-1", "rename the folder to 1,"),
        ("日本", "rename the folder, and"),
        ("a" * 65, "rename the folder to " + "a" * 64),
    ],
)
def test_misnamed_model(tmp_path: Path, model: str, remedy: str) -> None:
    """
    A folder with a version that has no model's name is reported with the rule and the remedy.
    """
    tiny.write(tmp_path)
    (tmp_path / "tiny").rename(tmp_path / model)
    repository = ModelRepository(tmp_path)
    assert repository.names() == []
    (found,) = repository.misnamed()
    assert (found.model, found.version) == (model, "")
    assert found.reason.startswith(f"{tmp_path}/{model}: a model's name has up to 64 lower-case")
    assert remedy in found.reason


def test_artifact_without_a_version(tmp_path: Path) -> None:
    """
    An artifact that lies in the model's folder itself is reported with the remedy.
    """
    tiny.write(tmp_path / "made")
    (tmp_path / "made/tiny/1").rename(tmp_path / "made/other")
    (tmp_path / "made/tiny").rmdir()
    (found,) = ModelRepository(tmp_path / "made").misnamed()
    assert found.model == "other"
    assert found.reason.endswith(f"move them to {tmp_path}/made/other/1")


def test_model_in_place_of_a_repository(tmp_path: Path) -> None:
    """
    A model's folder that was named as the repository is told to name the folder above it.
    """
    tiny.write(tmp_path)
    (found,) = ModelRepository(tmp_path / "tiny").misnamed()
    place = f"{tmp_path}/tiny"
    assert found.reason.endswith(f"if {place} is a model's folder, serve the folder that holds it")


def test_repository_in_a_repository(tmp_path: Path) -> None:
    """
    A model that lies one folder too deep is told where it belongs, not to be a number.
    """
    tiny.write(tmp_path / "inner")
    (found,) = ModelRepository(tmp_path).misnamed()
    assert found.reason.startswith(f"{tmp_path}/inner/tiny: this folder of versions")
    assert f"serve {tmp_path}/inner as the repository" in found.reason


def test_folders_of_documents(tmp_path: Path) -> None:
    """
    Folders and files beside the models are nobody's model, and not reported.
    """
    tiny.write(tmp_path)
    (tmp_path / "Docs/images").mkdir(parents=True)
    (tmp_path / "Private").mkdir(mode=0)
    (tmp_path / "README.md").touch()
    (tmp_path / "tiny/config.pbtxt").touch()
    assert ModelRepository(tmp_path).misnamed() == []


def _link_out(folder: Path) -> None:
    outside = folder.parents[2] / "outside.npz"
    (folder / "golden.npz").rename(outside)
    (folder / "golden.npz").symlink_to(outside)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "strange").touch(),
        lambda folder: (folder / "strange").mkdir(),
        lambda folder: (folder / "golden.npz").unlink(),
        lambda folder: os.utime(folder / "layers.json", ns=(1, 1)),
        lambda folder: (folder / "tuning.json").write_text("{}"),
        _edit_manifest(name="other"),
        _truncate_model,
        _link_out,
        _replace("golden.npz", lambda path: path.symlink_to("gone")),
        _replace("manifest.json", os.mkfifo),
        pytest.param(
            lambda folder: (folder / "model.onnx").chmod(0),
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything"),
        ),
    ],
)
def test_signature_covers_what_errors_name(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """
    The signature changes with everything that an error can complain of, and back.
    """
    repository, folder = ModelRepository(tmp_path / "models"), tmp_path / "models/tiny/1"
    tiny.write(tmp_path / "models")
    (folder / "layers.json").write_text("{}")
    whole = repository.signature("tiny", 1)
    assert repository.signature("tiny", 1) == whole
    change(folder)
    assert repository.signature("tiny", 1) != whole


def test_signature_follows_a_link_that_was_moved_inside(tmp_path: Path) -> None:
    """
    A file that is moved into the repository, with the link to it, gives another signature.
    """
    repository, folder = ModelRepository(tmp_path / "models"), tmp_path / "models/tiny/1"
    tiny.write(tmp_path / "models")
    _link_out(folder)
    with pytest.raises(ArtifactError, match="leads out of the repository"):
        repository.read("tiny", 1)
    before = repository.signature("tiny", 1)
    (tmp_path / "outside.npz").rename(tmp_path / "models/inside.npz")
    (folder / "golden.npz").unlink()
    (folder / "golden.npz").symlink_to(tmp_path / "models/inside.npz")
    assert repository.signature("tiny", 1) != before
    assert repository.read("tiny", 1).manifest.name == "tiny"
