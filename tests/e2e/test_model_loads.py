"""A server process whose models are exchanged under load: no request fails."""

from pathlib import Path

from bench import model_loads


async def test_reloading_loses_nothing(tmp_path: Path) -> None:
    """
    Reloads, cycles of loading and unloading, and truncated versions put in place: every request
    is answered, by a version that was right.
    """
    results = await model_loads.measure_reloads(tmp_path, 30, 10, 5)
    assert [(name, result["failures"]) for name, result in results.items()] == [
        ("reloads", []),
        ("load and unload cycles", []),
        ("truncated versions", []),
    ]
    assert results["reloads"]["versions"] == ["1", "2"]
    assert results["truncated versions"]["versions"] == ["2"]
    assert all(result["requests"] > 20 for result in results.values())
