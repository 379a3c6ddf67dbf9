"""The table of `python -m bench.fronts`: each promise, its bound, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

ENGINE_BOUNDS_US = (
    ("LeNet-5", "lenet5, tensor, 64 in flight", 15.0),
    ("tensor of 150 kB", "sleeping, tensor, 64 in flight", 25.0),
    ("JPEG", "sleeping, reserved, 64 in flight", 25.0),
)
"""Request, its name in the output of `bench.front_engine`, and its bound in microseconds."""

CORES = 16
"""Cores of the machine whose throughput is calculated: one for the engine, the rest for fronts."""

NAMES = {"tensor": "tensor of 150 kB", "jpeg": "JPEG of 500 x 375", "lenet": "LeNet-5"}

Row = Mapping[str, Any]


class Line(NamedTuple):
    """A line of the table; *met* is None if there is no bound."""

    what: str
    bound: str
    measured: str
    met: bool | None


def table(found: Mapping[str, Any]) -> str:
    """Return the table in Markdown."""
    lines = ["| what | bound | measured | met |", "|---|---|---|---|"]
    for line in _lines(found):
        met = {True: "yes", False: "no", None: ""}[line.met]
        lines.append(f"| {line.what} | {line.bound} | {line.measured} | {met} |")
    return "\n".join(lines)


def _lines(found: Mapping[str, Any]) -> Iterator[Line]:
    for name, key, bound in ENGINE_BOUNDS_US:
        spent = found["engine"][key]["least_us"]
        what = f"engine, processor time per request beyond the model's run: {name}"
        yield Line(what, f"{bound:g} us", f"{spent:g} us", spent <= bound)
    for row in found["rows"]:
        if row["second"]["kind"] == "fronts, TLS":
            yield _rate(row, 0.8, "TLS over fronts against plain")
        else:
            yield from _against_one_process(row, found["cores"])


def _against_one_process(row: Row, cores: int) -> Iterator[Line]:
    request, load = NAMES[row["request"]], (row["connections"], row["in_flight"])
    where = f"{request}, {row['second']['kind']}, {load[0]} x {load[1] // load[0]}"
    native = "native" in row["second"]["kind"]
    if load == (1, 1):
        added = row["second"]["p50_ms"] - row["first"]["p50_ms"]
        yield Line(f"added p50: {where}", "0.25 ms", f"{added:.2f} ms", added <= 0.25)
        return
    if load == (16, 64):
        one, both = _server_us(row["first"]), _server_us(row["second"])
        parts = f"{row['second']['engine_us']:.0f} + {row['second']['fronts_us']:.0f}"
        batches = f"{row['first']['batch']:.1f}; {row['second']['batch']:.1f} images in a batch"
        told = f"{both / one:.2f} ({one:.0f} us; engine + fronts {parts} us; {batches})"
        yield Line(f"processor time: {where}", "1.1", told, both <= 1.1 * one)
        bound = None if native else {"tensor": 1.05, "jpeg": 1.03}.get(row["request"])
        yield _rate(row, bound, f"images/s: {where}, ceiling {_ceiling(row, cores):.2f}")
        yield _on_many_cores(row, where)
    else:
        yield _rate(row, 1.0, f"images/s: {where}")


def _rate(row: Row, bound: float | None, what: str) -> Line:
    low, high = row["ratio_95"]
    told = f"{row['ratio']:.2f} ({low:.2f}-{high:.2f}); {row['second']['per_s']:,.0f}/s"
    met = None if bound is None else row["ratio"] >= bound
    return Line(what, "" if bound is None else f"{bound:g}", told, met)


def _ceiling(row: Row, cores: int) -> float:
    """Return the largest ratio that the cores allow, with all of them busy."""
    spent = _server_us(row["second"]) + row["second"]["load_us"]
    return float(cores * 1e6 / spent / row["first"]["per_s"])


def _on_many_cores(row: Row, where: str) -> Line:
    """Calculate the rate with as many fronts as other cores, if they scale perfectly."""
    engine = 1e6 / row["second"]["engine_us"]
    fronts = (CORES - 1) * 1e6 / row["second"]["fronts_us"]
    limit = "engine" if engine < fronts else "fronts"
    told = f"{min(engine, fronts):,.0f}/s, limited by the {limit}"
    return Line(f"calculated for {CORES} cores: {where}", "", told, None)


def _server_us(side: Mapping[str, float]) -> float:
    return side["engine_us"] + side["fronts_us"]
