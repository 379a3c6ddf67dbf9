"""The credentials of a server follow their files."""

import asyncio
from pathlib import Path

from convoy.service.security.credentials import Credentials
from convoy.service.security.tokens import Token


async def test_watch_reloads_changed_files(tmp_path: Path) -> None:
    """A watch loads a changed file of tokens by itself."""
    (first, _), (second, _) = Token.make("web", ["infer"]), Token.make("web", ["infer"])
    file = tmp_path / "tokens"
    file.write_text(first.line)
    credentials = Credentials(str(file))
    assert credentials.tokens
    watching = asyncio.create_task(credentials.watch(interval_s=0.001))
    file.write_text(f"# changed\n{second.line}")
    async with asyncio.timeout(10):
        while credentials.tokens.find(second.digest) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert credentials.tokens.find(first.digest) is None
    watching.cancel()


async def test_watch_ends_without_files() -> None:
    """A server without files of credentials has nothing to watch."""
    async with asyncio.timeout(10):
        await Credentials().watch()
