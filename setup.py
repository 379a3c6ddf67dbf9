"""The steps of a build that pyproject.toml cannot state: its version, and an empty folder.

The version is that of the last tag. setuptools packs everything in build/lib into a wheel,
including modules of an earlier checkout that have been moved since.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build import build

ROOT = Path(__file__).resolve().parent
BEFORE_THE_FIRST_RELEASE = "0.1.0.dev0"


class CleanBuild(build):
    """Removes the modules of an earlier build first."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


def version() -> str:
    """Return the version; raise ValueError if a stated one is no version."""
    # Case 1: stated, for a build without git, as of an image.
    if stated := os.environ.get("RELEASE_VERSION", "").removeprefix("v"):  # noqa: TID251
        if not re.fullmatch(r"\d+(\.\d+)*[a-z0-9.+]*", stated):
            raise ValueError(f"RELEASE_VERSION is {stated!r}: state a version such as 1.2.0")
        return stated
    # Case 2: a source distribution, which has the version of its build.
    metadata = ROOT / "PKG-INFO"
    if metadata.exists():
        return re.search(r"^Version: (.+)$", metadata.read_text(), re.MULTILINE)[1]
    # Case 3: a checkout; after the last tag the number of commits tells versions apart.
    command = ["git", "describe", "--tags", "--long", "--match", "v[0-9]*"]
    if (ROOT / ".git").exists() and shutil.which("git"):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode == 0:
            tag, commits, commit = done.stdout.strip().removeprefix("v").rsplit("-", 2)
            return tag if commits == "0" else f"{tag}.post{commits}+{commit}"
    # Case 4: no tag, or no git.
    return BEFORE_THE_FIRST_RELEASE


setup(version=version(), cmdclass={"build": CleanBuild})
