import json
from pathlib import Path
from typing import Any

import pytest

from convoy.artifact.errors import ArtifactError
from convoy.artifact.files import MANIFEST_FILE, read_manifest
from convoy.artifact.manifest import MANIFEST_STEPS, Evaluation, Manifest
from convoy.artifact.schema import NewerSchemaError, load, upgrade

MANIFESTS = Path("tests/data/manifests")
NEWEST = len(MANIFEST_STEPS) + 1


def read(tmp_path: Path, text: str) -> Manifest:
    (tmp_path / MANIFEST_FILE).write_text(text)
    return read_manifest(tmp_path)


def document(version: int) -> dict[str, Any]:
    """The manifest of this version that is kept."""
    found: dict[str, Any] = json.loads((MANIFESTS / f"version_{version}.json").read_text())
    return found


def test_a_manifest_of_each_version_is_kept() -> None:
    """
    A step of the chain comes with a manifest of the version before.
    """
    kept = {path.name for path in MANIFESTS.iterdir()}
    assert kept == {f"version_{version}.json" for version in range(1, NEWEST + 1)}
    assert Manifest.model_fields["schema_version"].default == NEWEST


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
def test_every_version_is_read(version: int, tmp_path: Path) -> None:
    """
    All versions of a manifest say the same of the model.
    """
    expected = Manifest.model_validate(document(NEWEST))
    assert read(tmp_path, json.dumps(document(version))) == expected


def test_newest_manifest_has_every_field() -> None:
    """
    A field that was added, removed or changed without a new version fails here.

    Do not repair it by editing the kept manifest: raise the version (artifact/schema.py).
    """
    assert Manifest.model_validate(document(NEWEST)).model_dump(mode="json") == document(NEWEST)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize(
    "field",
    ["normalization.mean.0", "normalization.std.0", "training.recipe.epochs", "parameter_count"],
)
def test_numbers_that_json_does_not_have(field: str, number: str, tmp_path: Path) -> None:
    """
    NaN and infinity are refused, and the message names the field.
    """
    manifest = document(NEWEST)
    *path, last = (int(key) if key.isdecimal() else key for key in field.split("."))
    part: Any = manifest
    for key in path:
        part = part[key]
    part[last] = "?"
    # An error in a part whose fields are open names that part.
    named = field.partition(".epochs")[0]
    with pytest.raises(ArtifactError, match=rf"{MANIFEST_FILE}: {named}: .*finite"):
        read(tmp_path, json.dumps(manifest).replace('"?"', number))


def test_version_that_is_left_out(tmp_path: Path) -> None:
    """
    The first manifests need not state their version.
    """
    fields = document(1)
    del fields["schema_version"]
    assert read(tmp_path, json.dumps(fields)).schema_version == NEWEST


def test_newer_version_is_refused(tmp_path: Path) -> None:
    """
    The message names both versions and the remedy.
    """
    text = json.dumps(document(NEWEST) | {"schema_version": NEWEST + 1, "added": 1})
    with pytest.raises(ArtifactError) as error:
        read(tmp_path, text)
    assert str(error.value) == (
        f"{tmp_path / MANIFEST_FILE}: schema_version {NEWEST + 1} is newer than {NEWEST}, the "
        "newest that this convoy reads; update convoy, or make the artifact again with this one"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 0}, "schema_version: Input should be 9"),
        ({"schema_version": "1"}, "schema_version: Input should be 9"),
        ({"schema_version": True}, "schema_version: Input should be 9"),
        ({"evaluations": 1}, "damaged: it lacks fields of schema_version 1"),
        ({"evaluations": [{"data": "x"}]}, "damaged: it lacks fields of schema_version 1"),
        ({"evaluations": [{"source": 1}]}, "damaged: it lacks fields of schema_version 1"),
        ({"evaluations": [{"source": "x", "top1": 1, "images": 1}]}, "evaluations.0.data: Field"),
        ({"labels": ["one"]}, "labels: Tuple should have at least 2 items"),
        ({"stray": 1}, "stray: Extra inputs are not permitted"),
    ],
)
def test_damaged_manifest_of_an_older_version(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """
    A manifest that cannot be upgraded, or is wrong in the newest version, gives one message.
    """
    with pytest.raises(ArtifactError) as error:
        read(tmp_path, json.dumps(document(1) | changes))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "invalid JSON: EOF"), ("[]", "document: Input should be a valid")]
)
def test_no_manifest(text: str, message: str, tmp_path: Path) -> None:
    """
    A file that is no document is named as such.
    """
    with pytest.raises(ArtifactError, match=rf"manifest\.json: {message}"):
        read(tmp_path, text)


def test_each_step_is_taken_once() -> None:
    """
    A document passes the steps from its own version on, in order.
    """
    steps = [
        lambda fields: {"path": [*fields.get("path", []), "to 2"]},
        lambda fields: {"path": [*fields.get("path", []), "to 3"]},
    ]
    assert upgrade({}, steps) == {"schema_version": 3, "path": ["to 2", "to 3"]}
    assert load(b'{"schema_version": 2}', steps) == {"schema_version": 3, "path": ["to 3"]}
    assert upgrade({"schema_version": 3}, steps) == {"schema_version": 3}
    with pytest.raises(NewerSchemaError):
        upgrade({"schema_version": 4}, steps)


@pytest.mark.parametrize(
    ("origin", "publisher"), [("measured", "torchvision"), ("published", None)]
)
def test_publisher_of_an_accuracy(origin: Any, publisher: str | None) -> None:
    """
    A published accuracy has a publisher; one that convoy measured has none.
    """
    with pytest.raises(ValueError, match="publisher is required for a published accuracy"):
        Evaluation(data="x", origin=origin, publisher=publisher, images=1, top1=1)


def test_attribution_of_an_accuracy() -> None:
    """
    It says in words who measured or published it, and where.
    """

    def attribution(origin: Any, *by: str) -> str:
        publisher, reference = (*by, None, None)[:2]
        return Evaluation(
            data="x", origin=origin, publisher=publisher, reference=reference, images=1, top1=1
        ).attribution

    assert attribution("measured") == "measured"
    assert attribution("published", "timm") == "published by timm"
    assert attribution("published", "timm", "a page") == "published by timm: a page"
