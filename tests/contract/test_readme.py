"""The commands and the code of the README work."""

import asyncio
import re
from pathlib import Path

import pytest

from convoy.__main__ import COMMANDS
from tests.harness.images import encode, gradient
from tests.harness.server import Serve

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


async def test_python_example(
    serve: Serve,
    lenet_repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    The first Python block runs against a server with LeNet-5 and prints what it should.
    """
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    (tmp_path / "digit.png").write_bytes(encode(gradient("L", (28, 28))))
    monkeypatch.chdir(tmp_path)
    async with serve(model_repository=lenet_repository) as running:
        program = code.replace("localhost:8001", running.address)
        await asyncio.to_thread(exec, program, {})
    answer, timing, first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d [01]\.\d+", answer)
    assert timing.endswith(" 1")
    assert first.startswith("Classification(")
    assert second.endswith("(INVALID_IMAGE)")


def test_every_command_is_shown() -> None:
    """
    The README shows each command once at least.
    """
    for command in COMMANDS:
        assert f"convoy {command}" in README
