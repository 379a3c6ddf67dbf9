"""Tables and lists of errors in documents and on the page agree with the classes of errors."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from convoy.service.errors import HTTP_STATUS, ServiceError
from tests.contract.test_errors import ERRORS

ROOT = Path(__file__).parents[2]

REASONS = {error.reason: error for error in ERRORS}

_ROW = re.compile(
    r"^\| (?P<reasons>`[A-Z_]+`(, `[A-Z_]+`)*) \| (?P<grpc>[A-Z_]+) \| (?P<http>\d+) \|", re.M
)


def test_http_status_is_derived_unless_declared() -> None:
    """The HTTP status of a class follows from its own gRPC status, not from its parent's."""

    class RefusedError(ServiceError):
        reason, status = "REFUSED", "PERMISSION_DENIED"

    class SlowError(RefusedError):
        reason, status = "SLOW", "DEADLINE_EXCEEDED"

    assert (RefusedError.http_status, SlowError.http_status) == (403, 504)
    declared = {error.reason for error in ERRORS if error.http_status != HTTP_STATUS[error.status]}
    assert declared == {"REQUEST_TOO_LARGE", "REQUEST_TOO_SLOW"}


def test_reference_lists_each_error_once() -> None:
    """The table of error codes has each reason once, with the statuses of its class."""
    rows = list(_ROW.finditer((ROOT / "docs/reference/errors.md").read_text()))
    listed = [
        (reason, row["grpc"], int(row["http"]))
        for row in rows
        for reason in re.findall(r"[A-Z_]+", row["reasons"])
    ]
    declared = [(error.reason, error.status, error.http_status.value) for error in ERRORS]
    assert Counter(listed) == Counter(declared)


@pytest.mark.parametrize(
    "file",
    [
        "how-to/alerts.md",
        "how-to/kubernetes.md",
        "how-to/serve.md",
        "reference/limits.md",
        "reference/protocol.md",
    ],
)
def test_documents_name_reasons_that_exist(file: str) -> None:
    """Each reason that a document names is that of a class."""
    named = re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", (ROOT / "docs" / file).read_text())
    unknown = {name for name in named if not name.startswith("CONVOY_")} - set(REASONS)
    assert unknown == set()


def test_page_explains_reasons_that_exist() -> None:
    """Each reason that the page has words for is that of a class."""
    script = (ROOT / "service/web/errors.js").read_text()
    keys = re.findall(r'^  ([A-Z_]+): "', script, re.M)
    listed = re.search(r"new Set\(\[(.*?)\]\)", script, re.S)
    assert listed
    keys += re.findall(r'"([A-Z_]+)"', listed[1])
    assert len(keys) > 10
    assert set(keys) - set(REASONS) == set()
