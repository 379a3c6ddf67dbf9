"""The one step of a build that pyproject.toml cannot state: it begins with an empty folder.

setuptools packs everything in build/lib into a wheel, including modules of an earlier checkout that
have been moved since.
"""

import shutil

from setuptools import setup
from setuptools.command.build import build


class CleanBuild(build):
    """Removes the modules of an earlier build first."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(cmdclass={"build": CleanBuild})
