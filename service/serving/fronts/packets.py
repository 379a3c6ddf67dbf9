"""One end of the connection between a front and the engine: batches of records, and blobs.

A packet arrives whole or not at all (`SOCK_SEQPACKET`), so that a process that is killed while it
sends leaves no half of a record. Nothing here ever waits for the other end.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from struct import Struct
from typing import Any, NamedTuple

from convoy.service.serving.fronts.records import Blob

MAX_RECORDS = 256
"""Maximum number of records in one packet."""

PACKET_BYTES = 1 << 15
"""Room for the largest packet."""

_ONE_DESCRIPTOR = socket.CMSG_LEN(struct.calcsize("i"))


class _Blob(NamedTuple):
    kind: Blob
    descriptor: int


class Packets:
    """
    Sends and receives over *connected*, in order, on the event loop.

    Args:
        sent: Format of the records to send.
        received: Format of those to receive.
        on_records: Called with the fields of each record of a packet.
        on_blob: Called with each blob.
        on_lost: Called once when the other end is closed, or when a blob of it cannot be received.
    """

    def __init__(
        self,
        connected: socket.socket,
        sent: Struct,
        received: Struct,
        *,
        on_records: Callable[[Iterator[tuple[Any, ...]]], None],
        on_blob: Callable[[Blob, bytes], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._socket = connected
        self._socket.setblocking(False)
        self._pack = sent.pack
        self._received = received
        self._on_records = on_records
        self._on_blob = on_blob
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._pending: deque[bytes | _Blob] = deque()
        self._flushing = False
        self._blocked = False
        self._loop.add_reader(self._socket, self._receive)

    def send(self, record: Iterable[Any]) -> None:
        """Send a record, together with others of this turn of the event loop."""
        self._add(self._pack(*record))

    def send_blob(self, kind: Blob, data: bytes) -> None:
        """
        Send *data* of any size, as memory that the other end reads.

        Raises:
            OSError: If no descriptor or no memory is left for it.
        """
        descriptor = os.memfd_create("convoy-blob")
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
        except OSError:
            os.close(descriptor)
            raise
        self._add(_Blob(kind, descriptor))

    def close(self) -> None:
        """Close this end, and drop what is not sent yet."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._drop_pending()

    def _add(self, item: bytes | _Blob) -> None:
        if self._socket.fileno() < 0:
            if isinstance(item, _Blob):
                os.close(item.descriptor)
            return
        self._pending.append(item)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _drop_pending(self) -> None:
        for item in self._pending:
            if isinstance(item, _Blob):
                os.close(item.descriptor)
        self._pending.clear()

    def _flush(self) -> None:
        """Send what is pending; if the other end does not read, go on when it does."""
        try:
            while self._pending:
                self._send_first()
        except BlockingIOError:
            self._blocked = True
            self._loop.add_writer(self._socket, self._flush)
            return
        # The other end is closed: the reader finds out, too.
        except OSError:
            self._drop_pending()
        if self._blocked:
            self._blocked = False
            self._loop.remove_writer(self._socket)
        self._flushing = False

    def _send_first(self) -> None:
        """Send the first blob, or the records before the next blob, in one packet."""
        first = self._pending[0]
        if isinstance(first, _Blob):
            socket.send_fds(self._socket, [bytes([first.kind])], [first.descriptor])
            os.close(first.descriptor)
            self._pending.popleft()
            return
        records: list[bytes] = []
        for item in islice(self._pending, MAX_RECORDS):
            if isinstance(item, _Blob):
                break
            records.append(item)
        self._socket.send(b"".join(records))
        for _ in records:
            self._pending.popleft()

    def _receive(self) -> None:
        """Read one packet; if there are more, the event loop calls again."""
        try:
            packet, ancillary, flags, _ = self._socket.recvmsg(PACKET_BYTES, _ONE_DESCRIPTOR)
        except BlockingIOError:
            return
        except OSError:
            packet, ancillary, flags = b"", [], 0
        # Without a free descriptor, the kernel cuts a blob off: the ends would no longer agree.
        if not packet or flags & socket.MSG_CTRUNC:
            self.close()
            self._on_lost()
        elif ancillary:
            (descriptor,) = struct.unpack("i", ancillary[0][2])
            with os.fdopen(descriptor, "rb") as file:
                file.seek(0)
                self._on_blob(Blob(packet[0]), file.read())
        else:
            self._on_records(self._received.iter_unpack(packet))
