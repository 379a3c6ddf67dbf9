"""Fixtures of the tests that need other programs: `make test-deploy` installs them."""

from __future__ import annotations

import pytest

from tests.deploy.emulators import BUILD


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """Skip all tests here if the programs have not been installed."""
    if not (BUILD / "installed").exists():
        pytest.skip("the programs of these tests are not installed: make test-deploy")
