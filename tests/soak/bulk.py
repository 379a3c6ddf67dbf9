"""Most of the calls of a soak: `python -m tests.soak.bulk`, a process of its own.

It reads the address of a server and the models on it from its standard input, and loads the server
until that ends. Each second, and at the end, it writes its account to its standard output.
"""

from __future__ import annotations

import json
import math
import selectors
import sys
import time
from collections.abc import Sequence

from convoy.service.rpc.fast_path import INFER_PATH
from tests.soak.checksums import Checksums
from tests.soak.flow import ALWAYS, Flow, cases
from tests.soak.ledger import CANCELLED, EXPIRED, Ledger
from tests.soak.wire import LOST, request_headers

REPORT_S = 1.0
LONGEST_WAIT_S = 0.05

DRAIN_S = 30.0
"""Time for the calls in flight at the end; the ledger finds those that take longer."""

BATCH = 8
"""Images of the larger requests."""

ANY_VERSION = (0, 0, 1, 2)
"""Half of the requests name the version that they want."""

CROWD, CROWD_IN_FLIGHT, CROWD_REST_S = 8, 256, 10.0
"""Connections, calls at once on each, and the pause before the next ones.

Together they are more calls than gRPC lets wait by default.
"""

REST_S = 0.05
"""Pause before the next call of those kinds whose calls end early."""

DEADLINES_US = (300, 500, 700, 1000, 1500, 2000, 3000, 5000, 7000, 10_000, 14_000, 20_000)


class Bulk:
    """
    The load of this process.

    Args:
        flows: Its connections.
        ledger: The account that they keep.
    """

    def __init__(self, flows: Sequence[Flow], ledger: Ledger) -> None:
        self._flows = flows
        self._ledger = ledger
        self._selector = selectors.DefaultSelector()
        self._ends_at = math.inf
        self._reported_at = 0.0

    def run(self) -> None:
        """Load the server until the standard input ends, and until the last calls have ended."""
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        for flow in self._flows:
            self._selector.register(flow.wire.socket, selectors.EVENT_READ, flow)
        now = time.monotonic()
        while now < self._ends_at + DRAIN_S and self._advance(now):
            wait_s = min(LONGEST_WAIT_S, *(flow.due_in(now) for flow in self._flows))
            for key, _ in self._selector.select(wait_s):
                self._read(key.data)
            now = time.monotonic()
        print(self._ledger.dump(), flush=True)

    def _advance(self, now: float) -> bool:
        """Begin the calls that are due; return whether there is anything to wait for."""
        stopping = now >= self._ends_at
        for flow in self._flows:
            flow.advance(now, stopping)
        if now >= self._reported_at + REPORT_S:
            print(self._ledger.dump(), flush=True)
            self._reported_at = now
        return not stopping or any(flow.in_flight for flow in self._flows)

    def _read(self, flow: Flow | None) -> None:
        # The standard input ends when the load is to end.
        if flow is None:
            self._selector.unregister(sys.stdin)
            self._ends_at = time.monotonic()
            return
        flow.receive(time.monotonic())
        if flow.wire.closed:
            self._selector.unregister(flow.wire.socket)
            flow.reconnect()
            self._selector.register(flow.wire.socket, selectors.EVENT_READ, flow)


def flows(address: str, ledger: Ledger, steady: Checksums, reloaded: Checksums) -> list[Flow]:
    """Return the load: of a model that stays, and of one whose versions change all the time."""
    sizes = 1, BATCH
    hurried = [
        request_headers(INFER_PATH, ALWAYS | {"grpc-timeout": f"{deadline}u"})
        for deadline in DEADLINES_US
    ]
    return [
        Flow(address, ledger, cases("steady", steady, sizes=sizes), in_flight=16),
        Flow(address, ledger, cases("versions", reloaded, ANY_VERSION, sizes), in_flight=16),
        Flow(
            *(address, ledger, cases("deadlines", reloaded, ANY_VERSION, sizes, {EXPIRED})),
            in_flight=4,
            rest_s=REST_S,
            headers=hurried,
        ),
        Flow(
            *(address, ledger, cases("resets", reloaded, ANY_VERSION, sizes, {CANCELLED, LOST})),
            in_flight=4,
            rest_s=REST_S,
            cancels=True,
        ),
        *(
            Flow(
                *(address, ledger, cases("crowd", steady)),
                in_flight=CROWD_IN_FLIGHT,
                rest_s=CROWD_REST_S,
            )
            for _ in range(CROWD)
        ),
    ]


def main() -> None:
    """Load the server that the standard input names."""
    given = json.loads(sys.stdin.readline())
    steady, reloaded = (Checksums(name, tuple(hashes)) for name, hashes in given["models"])
    ledger = Ledger()
    Bulk(flows(given["address"], ledger, steady, reloaded), ledger).run()


if __name__ == "__main__":
    main()
