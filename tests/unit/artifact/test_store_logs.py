"""The logs of the libraries of object stores."""

import logging

from convoy.artifact.store_logs import MAX_STORE_LINES, QuietStores

ERROR = (OSError, OSError("no route"), None)


def test_stores_are_quiet() -> None:
    """
    Libraries of object stores log warnings and errors, each once, and no requests.
    """
    passes = QuietStores()

    def passed(name: str, level: int, message: str) -> bool:
        return passes(logging.LogRecord(name, level, "x.py", 1, message, None, None))

    assert not passed("azure.core.pipeline.policies.http_logging_policy", logging.INFO, "headers")
    assert passed("gcsfs", logging.WARNING, "no credentials")
    assert not passed("gcsfs", logging.WARNING, "no credentials")
    assert passed("gcsfs.retry", logging.ERROR, "no credentials")
    record = logging.LogRecord("gcsfs", logging.ERROR, "x.py", 1, "out of retries", None, ERROR)
    assert passes(record)
    assert record.exc_info is None
    for _ in range(2):
        assert passed("convoy.service.app", logging.INFO, "ready")


def test_remembered_lines_of_stores_are_limited() -> None:
    """
    Warnings that differ each time do not fill the memory, nor the log.
    """
    passes = QuietStores()
    lines = (logging.LogRecord("gcsfs", 30, "x.py", 1, str(n), None, None) for n in range(5000))
    assert sum(map(passes, lines)) == MAX_STORE_LINES
