"""One task at a time changes the entry of a model, and unknown names are not kept."""

import asyncio

import pytest

from convoy.service.errors import ModelNotFoundError
from convoy.service.serving.registry import ModelRegistry, State, VersionEntry


async def test_one_task_at_a_time_holds_an_entry() -> None:
    """
    Tasks that ask for the same name follow each other, on one entry, even if it has no versions.
    """
    registry = ModelRegistry()
    entries, inside = [], 0

    async def change() -> None:
        nonlocal inside
        async with registry.locked("tiny") as entry:
            entries.append(entry)
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(change() for _ in range(5)))
    assert [entry is entries[0] for entry in entries] == [True] * 5


async def test_other_names_do_not_wait() -> None:
    """
    A model is loaded while another one is.
    """
    registry = ModelRegistry()
    async with asyncio.timeout(1), registry.locked("tiny"), registry.locked("other"):
        pass


@pytest.mark.parametrize("fails", [False, True])
async def test_names_without_versions_are_not_kept(fails: bool) -> None:
    """
    Requests for unknown names, which clients may choose, leave no entries.
    """
    registry = ModelRegistry()
    registry.started = True
    for number in range(100):
        try:
            async with registry.locked(f"stranger-{number}"):
                if fails:
                    raise RuntimeError("cannot read the repository")
        except RuntimeError:
            assert fails
    assert registry._entries == {}


async def test_cancelled_waiter_keeps_nothing() -> None:
    """
    A task that is cancelled while it waits for an entry does not hold it.
    """
    registry = ModelRegistry()

    async def change() -> None:
        async with registry.locked("tiny"):
            raise AssertionError("the entry is held by another task")

    async with registry.locked("tiny"):
        waiting = asyncio.create_task(change())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert registry._entries == {}


async def test_entry_with_versions_is_kept() -> None:
    """
    A version that could not be loaded is listed until it is removed.
    """
    registry = ModelRegistry()
    registry.started = True
    async with registry.locked("tiny") as entry:
        version = entry.versions[2] = VersionEntry("tiny", 2)
        version.mark(State.UNAVAILABLE)
    assert registry.entries() == [version]
    async with registry.locked("tiny") as entry:
        entry.versions.clear()
    with pytest.raises(ModelNotFoundError, match="no model is named 'tiny'"):
        registry.get("tiny")
