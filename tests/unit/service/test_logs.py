import json
import logging

from service import logs


def record(**extra: object) -> logging.LogRecord:
    made = logging.LogRecord("service.x", logging.INFO, "x.py", 1, "model loaded", None, None)
    vars(made).update(extra)
    return made


def test_json_line_holds_values_and_identifier() -> None:
    """
    A line is one JSON object with the values, and the identifier of its request.
    """
    token = logs.request_id.set("abc")
    try:
        line = json.loads(logs.JsonFormatter().format(record(model="lenet5", text="a\nb")))
    finally:
        logs.request_id.reset(token)
    assert line["message"] == "model loaded"
    assert (line["level"], line["logger"]) == ("info", "service.x")
    assert (line["model"], line["text"], line["request_id"]) == ("lenet5", "a\nb", "abc")
    assert line["time"].endswith("+00:00")


def test_text_line() -> None:
    """
    A terminal gets the phrase and the values.
    """
    line = logs.TextFormatter().format(record(model="lenet5"))
    assert line.endswith("INFO    model loaded  model=lenet5")


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
