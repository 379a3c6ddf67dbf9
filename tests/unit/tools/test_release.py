"""A release: its version is that of the tag, and its API does not break that of the last one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BUILD_FILES = ("LICENSE", "README.md", "pyproject.toml", "setup.py")
BUF = Path(sys.executable).with_name("buf")


def git(folder: Path, *arguments: str) -> None:
    """Run git as somebody."""
    author = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", *author, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path, tag: str = "") -> None:
    """Commit everything, and tag it."""
    git(folder, "add", "--all")
    git(folder, "commit", "--allow-empty", "--message", "x")
    if tag:
        git(folder, "tag", tag)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the files that make the version, without a tag."""
    for name in BUILD_FILES:
        shutil.copy(ROOT / name, tmp_path)
    git(tmp_path, "init")
    commit(tmp_path)
    return tmp_path


def version(folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """The version that a build in *folder* has."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "setup.py", "--quiet", "--version"],
        cwd=folder,
        env={**os.environ, **(environment or {})},  # noqa: TID251
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]


def test_version_is_that_of_the_tag(checkout: Path) -> None:
    """
    A tag gives the version; later commits are told apart from it, and have a later one.
    """
    assert version(checkout) == "0.1.0.dev0"
    commit(checkout, "v1.2.3")
    commit(checkout, "not-a-version")
    git(checkout, "checkout", "--quiet", "v1.2.3")
    assert version(checkout) == "1.2.3"
    git(checkout, "checkout", "--quiet", "-")
    assert version(checkout).startswith("1.2.3.post1+g")


def test_version_without_git(checkout: Path) -> None:
    """
    An image states its version, and a source distribution has that of its build.
    """
    shutil.rmtree(checkout / ".git")
    assert version(checkout) == "0.1.0.dev0"
    assert version(checkout, {"RELEASE_VERSION": "v2.0.0rc1"}) == "2.0.0rc1"
    with pytest.raises(subprocess.CalledProcessError) as failed:
        version(checkout, {"RELEASE_VERSION": "newest"})
    assert "state a version such as 1.2.0" in failed.value.stderr
    (checkout / "PKG-INFO").write_text("Metadata-Version: 2.4\nVersion: 3.1.4\n")
    assert version(checkout) == "3.1.4"


def test_breaking_change_is_found(tmp_path: Path) -> None:
    """
    The API of the last release stays: a field may be added, and none removed.
    """
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    proto = tmp_path / "proto/convoy/v1/classifier.proto"
    git(tmp_path, "init")

    def compare() -> subprocess.CompletedProcess[str]:
        command = [ROOT / "tools/breaking.sh", BUF]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    commit(tmp_path)
    assert "there is no release yet" in compare().stdout
    commit(tmp_path, "v1.0.0")
    released = proto.read_text()
    field = "  int32 top_k = "
    assert field in released
    proto.write_text(released.replace(field, "  int32 extra = 99;\n" + field, 1))
    assert compare().returncode == 0, compare()
    proto.write_text(released.replace(field, "  int64 top_k = ", 1))
    assert compare().returncode != 0
    assert "top_k" in compare().stdout + compare().stderr


def test_a_shallow_clone_is_not_taken_for_one_without_a_release(tmp_path: Path) -> None:
    """
    Without the history nobody knows the last release, and the message says how to get it.
    """
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init")
    commit(origin, "v1.0.0")
    commit(origin)
    git(tmp_path, "clone", "--quiet", "--depth=1", origin.as_uri(), "clone")
    command = [ROOT / "tools/breaking.sh", BUF]
    compared = subprocess.run(command, cwd=tmp_path / "clone", capture_output=True, text=True)
    assert compared.returncode == 0
    assert "git fetch --unshallow --tags" in compared.stdout
    assert "there is no release yet" not in compared.stdout
