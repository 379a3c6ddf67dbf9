"""The transports that a test runs over, one after the other."""

from importlib.util import find_spec

import pytest

TRANSPORTS = [
    "grpcio",
    pytest.param(
        "native",
        marks=pytest.mark.skipif(
            not find_spec("pygrpc_native"), reason="the extra fast is missing"
        ),
    ),
]

FRONTS = "fronts"
"""grpcio in a front process, for tests of a server's properties that must be the same over it."""
