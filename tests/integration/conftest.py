"""The server in this process, for tests of several packages together."""

from tests.harness.server import pytest_generate_tests, running, serve

__all__ = ["pytest_generate_tests", "running", "serve"]
