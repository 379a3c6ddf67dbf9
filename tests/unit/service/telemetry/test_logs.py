import json
import logging
import sys

import pytest

from convoy.service.security.tokens import Token
from convoy.service.telemetry import logs


def record(**extra: object) -> logging.LogRecord:
    made = logging.LogRecord(
        "convoy.service.x", logging.INFO, "x.py", 1, "model loaded", None, None
    )
    vars(made).update(extra)
    return made


def test_json_line_holds_values_and_identifier() -> None:
    """
    A line is one JSON object with the values, and the identifier of its request.
    """
    with logs.request_origin(logs.Origin("abc")):
        line = json.loads(logs.JsonFormatter().format(record(model="lenet5", text="a\nb")))
    assert line["message"] == "model loaded"
    assert (line["level"], line["logger"]) == ("info", "convoy.service.x")
    assert (line["model"], line["text"], line["request_id"]) == ("lenet5", "a\nb", "abc")
    assert line["time"].endswith("+00:00")


@pytest.mark.parametrize(
    ("traceparent", "is_sane"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", True),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", False),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n", False),
        ("x", False),
        ("", False),
    ],
)
def test_trace(traceparent: str, is_sane: bool) -> None:
    """
    A sane trace is in the lines of its request and goes back; another one is dropped.
    """
    origin = logs.Origin.from_headers([("x-request-id", "abc"), ("traceparent", traceparent)])
    with logs.request_origin(origin):
        line = json.loads(logs.JsonFormatter().format(record()))
    assert line.get("traceparent") == (traceparent if is_sane else None)
    assert dict(origin.headers).get("traceparent") == (traceparent if is_sane else None)
    assert "traceparent" not in json.loads(logs.JsonFormatter().format(record()))


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "\n"])
def test_missing_identifier_is_generated(given: str) -> None:
    """
    Each request without a sane identifier gets one of its own.
    """
    made = {logs.Origin.from_headers([("x-request-id", given)]).request_id for _ in range(10)}
    assert len(made) == 10
    assert all(len(identifier) == 32 for identifier in made)


def test_text_line() -> None:
    """
    A terminal gets the phrase and the values.
    """
    line = logs.TextFormatter().format(record(model="lenet5"))
    assert line.endswith("INFO    model loaded  model=lenet5")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\x1b[2Jb", r"a\r\x1b[2Jb"),
        ("a\x85b\u2028c", r"a\x85b\u2028c"),
        ("Zürich, 東京", "Zürich, 東京"),
        (["a\n"], r"['a\n']"),
    ],
)
def test_text_of_a_client_forges_no_line(value: object, written: str) -> None:
    """
    A value stays on its line, whatever characters it has, and sends no command to the terminal.
    """
    line = logs.TextFormatter().format(record(details=value))
    assert line.endswith(f"  details={written}")


def test_traceback_is_kept() -> None:
    """
    An exception's traceback is in the line.
    """
    try:
        raise ValueError("inside")
    except ValueError as error:
        failed = record()
        failed.exc_info = (type(error), error, error.__traceback__)
    assert "ValueError: inside" in json.loads(logs.JsonFormatter().format(failed))["traceback"]
    assert "ValueError: inside" in logs.TextFormatter().format(failed)


def test_rationed_lines() -> None:
    """
    A limited number of lines is written in a period; the next one says how many were left out.
    """
    lines = logs.RateLimit(2)
    told = [lines.take(now) for now in (5.0, 5.1, 5.2, 5.9, 6.1, 6.2, 9.0)]
    assert told == [0, 0, None, None, 2, 0, 0]
    lines = logs.RateLimit(1, period_s=60)
    assert [lines.take(now) for now in (5.0, 6.0, 64.9, 65.0)] == [0, None, None, 2]


@pytest.mark.parametrize("formatter", [logs.JsonFormatter(), logs.TextFormatter()])
def test_tokens_are_redacted(formatter: logging.Formatter) -> None:
    """
    No line holds a token, nor the beginning of one; the rest of the line stays.
    """
    _, text = Token.make("web", ["infer"])
    old = text.removeprefix("cvy_")
    for secret in (text, text[:20], f"Bearer {text}", f"bearer  {old}", f"b'Bearer {old}\\xa0'"):
        try:
            raise ValueError(f"quotes {secret} and more")
        except ValueError:
            made = record(details=f"quotes {secret} and more")
            made.exc_info = sys.exc_info()
        line = formatter.format(made)
        assert text[4:20] not in line
        assert line.count("[token]") == 2
        assert line.count("and more") >= 2
        if isinstance(formatter, logs.JsonFormatter):
            json.loads(line)
    harmless = "needs a token: authorization: Bearer TOKEN, in convoy_requests_total"
    assert harmless in formatter.format(record(details=harmless))


def test_lines_of_a_library_are_limited(caplog: pytest.LogCaptureFixture) -> None:
    """
    Some lines that clients can cause are written each second; the next says how many were not.
    """
    logger = logging.getLogger("a library")
    logger.addFilter(logs.RateLimited(2))
    for _ in range(50):
        logger.warning("nonsense")
    assert 2 <= len(caplog.records) < 50
