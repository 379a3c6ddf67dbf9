"""Requests damaged in every way: none is the server's fault, and the next is answered."""

import gzip
import json
import random
import zlib
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from tests.harness import tiny
from tests.harness.calls import INFER, classes, infer_body
from tests.harness.http import Connection
from tests.harness.server import Running

ROUNDS = 400

ALLOWED = {200, 400, 404, 413, 501}

NASTY: list[Any] = [
    *(None, True, False, 0, 1, -1, 255, 256, 2**31, 2**63, -(2**63) - 1, 10**400, 1.5, 1e308),
    *(float("nan"), float("inf"), "", "x", "16", "BYTES", "FP32", "\x00", "é" * 300, "../.."),
    *([], [[]], [1], [None], ["a"], [[1], [1, 2]], [[[[[[1]]]]]], {}, {"a": 1}, {"a": {"b": []}}),
]

NAMES = [
    *("name", "shape", "datatype", "data", "parameters", "inputs", "outputs", "id", "other"),
    *("binary_data_size", "binary_data", "binary_data_output", "classification", "priority"),
    *("timeout", "content_type", "shared_memory_region", ""),
]

BYTES = [b"", b"{", b"}", b"[", b"]", b'"', b",", b"\\ud800", b"\xff", b"\x00", b"9" * 50, b"1e999"]


def good(dice: random.Random) -> tuple[dict[str, Any], bytes]:
    """A right request in some form: JSON, and what follows it."""
    raw = tiny.pixels(dice.randrange(tiny.POISON)).tobytes()
    image: dict[str, Any] = {"name": "image", "datatype": "UINT8", "shape": [1, 4, 4, 1]}
    asked: dict[str, Any] = {
        "id": "r-1",
        "parameters": {"priority": 1, "binary_data_output": dice.random() < 0.5},
        "inputs": [image],
        "outputs": [{"name": "logits", "parameters": {"classification": 2}}],
    }
    if dice.random() < 0.5:
        image["parameters"] = {"binary_data_size": len(raw)}
        return asked, raw
    image["data"] = list(raw)
    return asked, b""


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container within *value*, with each of its keys or indices."""
    keys = value if isinstance(value, dict) else range(len(value))
    found = [(value, key) for key in keys]
    for child in value.values() if isinstance(value, dict) else value:
        if isinstance(child, (dict, list)):
            found += places(child)
    return found


def spoil_values(dice: random.Random, asked: dict[str, Any]) -> None:
    """Change, remove or add up to three values."""
    for _ in range(dice.randint(1, 3)):
        container, key = dice.choice(places(asked) or [(asked, "inputs")])
        change = dice.randrange(4)
        if change == 0 and key in (container if isinstance(container, dict) else (key,)):
            del container[key]
        elif change == 1 and isinstance(container, dict):
            container[dice.choice(NAMES)] = deepcopy(dice.choice(NASTY))
        elif change == 2 and isinstance(container, list):
            container *= 2
        else:
            container[key] = deepcopy(dice.choice(NASTY))


def spoil_bytes(dice: random.Random, body: bytes) -> bytes:
    """Flip, cut, insert or repeat a part."""
    place = dice.randrange(len(body) + 1)
    end = min(len(body), place + dice.randint(1, 20))
    parts: list[Callable[[], bytes]] = [
        lambda: body[:place],
        lambda: body[:place] + body[end:],
        lambda: body[:place] + dice.choice(BYTES) + body[place:],
        lambda: body[:place] + dice.randbytes(end - place) + body[end:],
        lambda: body[:place] + body[place:end] * 5 + body[end:],
    ]
    return dice.choice(parts)()


def spoilt(dice: random.Random) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request that was right once."""
    asked, binary = good(dice)
    if dice.random() < 0.7:
        spoil_values(dice, asked)
    text = json.dumps(asked).encode()
    body, length = text + binary, len(text)
    if dice.random() < 0.5:
        body = spoil_bytes(dice, body)
    headers = {}
    if binary or dice.random() < 0.1:
        wrong = dice.choice([length + dice.randint(-5, 5), -1, 0, 10**30, "x", "", "1.0"])
        header = wrong if dice.random() < 0.3 else length
        headers["inference-header-content-length"] = str(header)
    if dice.random() < 0.2:
        encoding = dice.choice(["gzip", "deflate", "br"])
        headers["content-encoding"] = encoding
        if dice.random() < 0.8:
            body = zlib.compress(body) if encoding == "deflate" else gzip.compress(body)
            body = spoil_bytes(dice, body) if dice.random() < 0.4 else body
    return body, headers


async def test_damaged_requests(running: Running) -> None:
    """
    A damaged request is refused with the client's error, and the next request is answered.
    """
    dice = random.Random(20_240_229)
    seen = set()
    async with Connection(running.url) as connection:
        for number in range(ROUNDS):
            body, headers = spoilt(dice)
            answer = await connection.ask("POST", INFER, body, headers)
            seen.add(answer.status)
            # Some become images that the model itself fails on.
            if b"INFERENCE_FAILED" not in answer.body:
                assert answer.status in ALLOWED, (number, body, headers, answer)
            if answer.status != 200:
                assert set(answer.json()) == {"error", "reason", "status"}
                assert len(answer.body) < 1000
                assert b"Traceback" not in answer.body
            if number % 50 == 0:
                assert classes(await connection.ask("POST", INFER, infer_body(4))) == [4]
        assert classes(await connection.ask("POST", INFER, infer_body(3))) == [3]
    assert {200, 400} <= seen
    assert running.in_flight == 0
    assert running.queue_depth() == 0


async def test_damaged_requests_of_other_routes(running: Running) -> None:
    """
    The routes that take a little JSON are as hard to upset.
    """
    dice = random.Random(7)
    asked: dict[str, Any] = {
        "ready": True,
        "log_nothing": True,
        "parameters": {"config": "{}", "unload_dependents": True, "file:x": "AAAA"},
    }
    paths = (
        "/v2/repository/index",
        "/v2/repository/models/tiny/load",
        "/v2/repository/models/tiny/unload",
        "/v2/logging",
    )
    async with Connection(running.url) as connection:
        for number in range(200):
            spoilt = json.loads(json.dumps(asked))
            spoil_values(dice, spoilt)
            body = json.dumps(spoilt).encode()
            body = spoil_bytes(dice, body) if dice.random() < 0.5 else body
            answer = await connection.ask("POST", paths[number % len(paths)], body)
            assert answer.status in ALLOWED, (number, body, answer)
        assert classes(await connection.ask("POST", INFER, infer_body(3))) == [3]
