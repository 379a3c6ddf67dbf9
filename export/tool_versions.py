"""The versions of the packages that made an artifact or trained weights."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import version

import convoy


def tool_versions(packages: Iterable[str]) -> dict[str, str]:
    """
    Return the versions of Python, convoy and *packages*, by name.

    Args:
        packages: Names of installed distributions.

    Raises:
        PackageNotFoundError: If one is not installed.
    """
    # The distribution has another name than the package: `convoy` on PyPI is a different project.
    own = {"python": platform.python_version(), "convoy": convoy.__version__}
    return own | {package: version(package) for package in packages}
