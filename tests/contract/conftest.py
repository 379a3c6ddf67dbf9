"""The server in this process, for tests of the wire protocol."""

from tests.harness.server import pytest_generate_tests, running, serve

__all__ = ["pytest_generate_tests", "running", "serve"]
