"""The choice of slots in an arena."""

import random

import pytest

from convoy.service.errors import RequestTooLargeError, ServerBusyError
from convoy.service.serving.fronts.arena import Slot, Slots


def test_slots_never_overlap() -> None:
    """
    Whatever is taken and freed, no two slots share a byte, and all memory comes back.
    """
    chance, slots = random.Random(0), Slots(100)
    taken: list[Slot] = []
    for _ in range(5000):
        if taken and chance.random() < 0.5:
            slots.free(taken.pop(chance.randrange(len(taken))))
        else:
            try:
                taken.append(slots.take(chance.randrange(1, 30)))
            except ServerBusyError:
                continue
        bytes_taken = [byte for slot in taken for byte in range(slot.offset, sum(slot))]
        assert len(bytes_taken) == len(set(bytes_taken)) == slots.used
        assert all(0 <= byte < 100 for byte in bytes_taken)
    for slot in taken:
        slots.free(slot)
    assert slots.used == 0
    assert slots.take(100) == Slot(0, 100)


def test_full_arena() -> None:
    """
    An arena without room refuses, and says how much is in use.
    """
    slots = Slots(100)
    slots.take(60)
    with pytest.raises(ServerBusyError, match="60 of 100 bytes"):
        slots.take(41)
    with pytest.raises(RequestTooLargeError, match="take 101 bytes"):
        slots.take(101)
