"""`convoy bulk` on the engines of extras, in a store, and the recipes of the guide."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import fsspec
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.deploy.emulators import EMULATORS
from tests.harness import tiny
from tests.harness.bulk import expected_rows, rows, start_bulk, write_images, write_parquet
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.server_process import ServerProcess

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/how-to/bulk.md").read_text()
RECIPES = dict(re.findall(r'```python title="(\w+)\.py"\n(.*?)```', GUIDE, re.DOTALL))


def needs(package: str) -> pytest.MarkDecorator:
    """Skip a test without *package*."""
    reason = f"{package} is not installed: make test-deploy"
    return pytest.mark.skipif(not find_spec(package), reason=reason)


@pytest.mark.parametrize("engine", [pytest.param("dask", marks=needs("distributed"))])
def test_a_killed_worker_of_dask(tmp_path: Path, engine: str) -> None:
    """
    The nanny replaces the worker, and no row is missing or double.
    """
    tiny.write(tmp_path / "model_repository")
    write_parquet(tmp_path / "photos.parquet", 30_000, row_group_size=10_000)
    arguments = ["tiny", "photos.parquet", "--id", "key", "--to", "labels", "--engine", engine]
    process = start_bulk([*arguments, "--workers", "2"], tmp_path)
    ends = time.monotonic() + 120
    while not list((tmp_path / "labels").glob("part-*")):
        assert time.monotonic() < ends
        time.sleep(0.05)
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]
    workers[0].kill()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert rows(tmp_path / "labels") == dict(enumerate(expected_rows(30_000)))


@needs("distributed")
def test_workers_of_dask_leave_the_processor_to_the_model() -> None:
    """
    The workers of a cluster that the command starts have neither Dask's profiler nor its limit on
    the memory that the C library keeps. The settings of the command's own process do not change.
    """
    import dask

    from convoy.commands.bulk.engines.dask_engine import DaskEngine

    before = dask.config.get("distributed.worker.profile.enabled")
    engine = DaskEngine("", 1)
    try:
        found = engine.submit(_settings_of_dask).result(timeout=60)
    finally:
        engine.close()
    assert found == (False, "1s", None)
    assert dask.config.get("distributed.worker.profile.enabled") == before is True


def _settings_of_dask() -> tuple[bool, str, str | None]:
    import dask

    read = dask.config.get
    kept = os.environ.get("MALLOC_TRIM_THRESHOLD_")  # noqa: TID251
    return read("distributed.worker.profile.enabled"), read("distributed.admin.tick.interval"), kept


@needs("distributed")
def test_servers_are_asked_by_workers_of_dask(tmp_path: Path) -> None:
    """
    With `--server`, the workers of an engine query the servers, and need no model of their own.
    """
    tiny.write(tmp_path / "served")
    write_parquet(tmp_path / "photos.parquet", 3_000, row_group_size=1_000)
    with ServerProcess(tmp_path / "served") as server:
        arguments = ["tiny", "photos.parquet", "--id", "key", "--to", "labels", "--workers", "2"]
        asked = ["--server", server.address, "--engine", "dask"]
        process = start_bulk([*arguments, *asked], tmp_path)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert rows(tmp_path / "labels") == dict(enumerate(expected_rows(3_000)))


@pytest.mark.parametrize(
    "engine",
    [
        "local",
        pytest.param("dask", marks=needs("distributed")),
        pytest.param("ray", marks=needs("ray")),
    ],
)
def test_an_error_in_a_worker_is_one_line(tmp_path: Path, engine: str) -> None:
    """
    An error that ends the job is one line of the command's, whatever the engine makes of it.
    """
    tiny.write(tmp_path / "model_repository")
    pq.write_table(pa.table({"key": [1, None], "image": [b"x"] * 2}), tmp_path / "photos.parquet")
    arguments = ["tiny", "photos.parquet", "--id", "key", "--to", "labels", "--engine", engine]
    process = start_bulk([*arguments, "--workers", "1"], tmp_path)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    line = "convoy bulk: photos.parquet: row 1 has no key; leave out --id"
    assert errors.splitlines()[-1] == line
    assert "Traceback" not in errors


@needs("ray")
def test_a_killed_node_of_ray(tmp_path: Path) -> None:
    """
    The tasks of a node that is gone run on another one, and no row is missing or double.
    """
    from ray.cluster_utils import Cluster

    tiny.write(tmp_path / "model_repository")
    write_parquet(tmp_path / "photos.parquet", 30_000, row_group_size=10_000)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        other = cluster.add_node(num_cpus=1)
        arguments = ["tiny", "photos.parquet", "--id", "key", "--to", "labels"]
        engine = ["--engine", "ray", "--address", str(cluster.address)]
        process = start_bulk([*arguments, *engine], tmp_path)
        ends = time.monotonic() + 300
        while not list((tmp_path / "labels").glob("part-*")):
            assert time.monotonic() < ends
            time.sleep(0.05)
        cluster.remove_node(other, allow_graceful=False)
        _, errors = process.communicate(timeout=400)
    finally:
        cluster.shutdown()
    assert process.returncode == 0, errors
    assert rows(tmp_path / "labels") == dict(enumerate(expected_rows(30_000)))


@needs("ray")
def test_ray(tmp_path: Path) -> None:
    """
    Ray's tasks write the same rows.
    """
    tiny.write(tmp_path / "model_repository")
    write_parquet(tmp_path / "photos.parquet", 3_000, row_group_size=1_000)
    arguments = ["tiny", "photos.parquet", "--id", "key", "--to", "labels", "--engine", "ray"]
    process = start_bulk([*arguments, "--workers", "2"], tmp_path)
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert rows(tmp_path / "labels") == dict(enumerate(expected_rows(3_000)))


@pytest.mark.parametrize(
    ("recipe", "package"), [("ray_data", "ray"), ("spark", "pyspark"), ("daft", "daft")]
)
def test_recipes(tmp_path: Path, recipe: str, package: str) -> None:
    """
    Each recipe of the guide labels a Parquet file on its engine.
    """
    if not find_spec(package):
        pytest.skip(f"{package} is not installed: make test-deploy")
    if package == "pyspark" and not shutil.which("java"):
        pytest.skip("Spark needs Java: make deploy-tools")
    (tmp_path / "model_repository").symlink_to(LENET_REPOSITORY)
    write_parquet(tmp_path / "photos.parquet", 600, row_group_size=200)
    # Not under the name of the package that it imports.
    (tmp_path / "recipe.py").write_text(RECIPES[recipe])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # noqa: TID251
    environment |= {"PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(
        [sys.executable, "recipe.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = pq.read_table(tmp_path / "labels", columns=["key", "label", "error"]).to_pylist()
    assert sorted(row["key"] for row in found) == list(range(600))
    assert {row["key"] for row in found if row["error"]} == set(range(1, 600, 100))


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a server of S3."""
    with EMULATORS["s3"].started(tmp_path / "store") as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir("photos")
        yield "photos"


@needs("s3fs")
def test_from_a_bucket_to_a_chart(tmp_path: Path, bucket: str) -> None:
    """
    The guide's commands label a bucket, into the bucket, and draw its classes.
    """
    store = fsspec.filesystem("s3", skip_instance_cache=True)
    write_images(tmp_path / "photos", 700)
    store.put(str(tmp_path / "photos"), f"{bucket}/2026", recursive=True)
    (tmp_path / "model_repository").symlink_to(LENET_REPOSITORY)
    section = GUIDE.partition("## From a bucket to a chart")[2].partition("\n## ")[0]
    ((command,), (program,)) = (
        re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL) for language in ("sh", "python")
    )
    process = start_bulk(command.split()[2:], tmp_path)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "INVALID_IMAGE  7" in output
    record = json.loads(store.cat(f"{bucket}/labels/_convoy/job.json"))
    assert (record["state"], record["images"]) == ("finished", 700)
    assert not [name for name in store.find(f"{bucket}/labels") if name.endswith(".tmp")]
    done = subprocess.run(
        [sys.executable, "-c", f"import matplotlib; matplotlib.use('agg')\n{program}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "classes.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("source", "to", "variables", "message"),
    [
        (
            "s3://absent/2026",
            "labels",
            {},
            "there is no s3://absent/2026; check the bucket and the path",
        ),
        (
            "photos.parquet",
            "s3://absent/labels",
            {},
            "cannot write s3://absent/labels: there is no such bucket or folder; create it, or "
            "check the URL",
        ),
        (
            "s3://photos/2026",
            "labels",
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
            "cannot read s3://photos/2026: no credentials were found (Unable to locate "
            "credentials); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile",
        ),
        (
            "s3://photos/2026",
            "labels",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
            "cannot read s3://photos/2026: the store cannot be reached (Could not connect to the "
            'endpoint URL: "http://127.0.0.1:1/',
        ),
    ],
)
def test_stores_that_fail(
    tmp_path: Path,
    bucket: str,
    source: str,
    to: str,
    variables: dict[str, str | None],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A store that cannot be used is one line, with the URL, what is wrong, and the remedy.
    """
    tiny.write(tmp_path / "model_repository")
    write_parquet(tmp_path / "photos.parquet", 3)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    process = start_bulk(["tiny", source, "--to", to], tmp_path)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith(f"convoy bulk: {message}")
    assert "Traceback" not in errors
