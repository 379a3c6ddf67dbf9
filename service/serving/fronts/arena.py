"""The shared memory of one front and the engine, and the front's choice of slots in it.

Each front has an arena of its own, and its successor gets a new one: whatever a front that was
killed has begun to write, no other front's request can ever read.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect
from typing import NamedTuple

from convoy.service.errors import RequestTooLargeError, ServerBusyError
from convoy.service.lifecycle import BUSY_RETRY_S


class Slot(NamedTuple):
    """A part of an arena, in bytes."""

    offset: int
    size: int


def make_arena(size: int) -> int:
    """Return the descriptor of *size* bytes of new memory, which is used only where written."""
    descriptor = os.memfd_create("convoy-arena")
    os.ftruncate(descriptor, size)
    return descriptor


def map_arena(descriptor: int) -> mmap.mmap:
    """Map an arena; it lives until no array refers to it."""
    return mmap.mmap(descriptor, os.fstat(descriptor).st_size)


class Slots:
    """
    The free parts of an arena of *size* bytes. The first that fits is taken.

    Attributes:
        used: Bytes in slots.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._starts = [0]  # of the free parts, ascending
        self._ends = [size]
        self.used = 0

    def take(self, size: int) -> Slot:
        """
        Take a slot.

        Raises:
            RequestTooLargeError: If the whole arena is too small.
            ServerBusyError: If no free part is large enough.
        """
        if size > self._size:
            raise RequestTooLargeError(
                f"the images of the request take {size} bytes of memory; this server has "
                f"{self._size} for them"
            )
        for index, (start, end) in enumerate(zip(self._starts, self._ends, strict=True)):
            if end - start >= size:
                if end - start == size:
                    del self._starts[index], self._ends[index]
                else:
                    self._starts[index] += size
                self.used += size
                return Slot(start, size)
        raise ServerBusyError(
            f"the server is busy: {self.used} of {self._size} bytes for images are in use",
            BUSY_RETRY_S,
        )

    def free(self, slot: Slot) -> None:
        """Free a slot, and join it to its free neighbours."""
        start, end = slot.offset, slot.offset + slot.size
        self.used -= slot.size
        index = bisect(self._starts, start)
        if index < len(self._starts) and self._starts[index] == end:
            end = self._ends.pop(index)
            del self._starts[index]
        if index and self._ends[index - 1] == start:
            self._ends[index - 1] = end
        else:
            self._starts.insert(index, start)
            self._ends.insert(index, end)
