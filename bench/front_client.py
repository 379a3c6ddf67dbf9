"""A front that only sends records: `python -m bench.front_client DESCRIPTOR RESERVED IN_FLIGHT N`.

`bench/front_engine.py` starts it, with its end of the connection.
"""

from __future__ import annotations

import math
import socket
import sys

from convoy.service.serving.fronts.records import DEMAND, REPLY, Demand, Reply, ToEngine, ToFront

SLOT_BYTES = 2**18


def send(descriptor: int, reserved: int, in_flight: int, requests: int) -> int:
    """Send *requests* as a front does, and keep *in_flight* of them in progress."""
    connection = socket.socket(fileno=descriptor)
    socket.recv_fds(connection, 1, 1)  # the snapshot
    connection.send(DEMAND.pack(*Demand(ToEngine.HELLO)))
    begun, answered = 0, 0

    def begin(count: int) -> None:
        nonlocal begun
        records = []
        for _ in range(min(count, requests - begun)):
            begun += 1
            slot = begun % in_flight * SLOT_BYTES
            kind = ToEngine.RESERVE if reserved else ToEngine.SUBMIT
            demand = Demand(kind, 2, 3, begun, 1, 1, slot, SLOT_BYTES, math.inf)
            records.append(DEMAND.pack(*demand))
            if reserved:
                records.append(DEMAND.pack(*Demand(ToEngine.READY, ticket=begun)))
        if records:
            connection.send(b"".join(records))

    begin(in_flight)
    while answered < requests:
        replies = [Reply(*fields) for fields in REPLY.iter_unpack(connection.recv(1 << 16))]
        # A refusal costs less.
        if any(reply.kind != ToFront.ANSWER for reply in replies):
            raise RuntimeError("a request was refused")
        answered += len(replies)
        begin(len(replies))
    return 0


if __name__ == "__main__":
    sys.exit(send(*map(int, sys.argv[1:])))
