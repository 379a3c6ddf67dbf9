"""Accepting connections, also when there are no file descriptors left.

asyncio's own server logs a traceback for each connection that it cannot accept, thousands a second,
and answers nobody meanwhile.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress

from convoy.service.http.places import Place, Places

logger = logging.getLogger(__name__)

ACCEPTED_AT_ONCE = 16
"""Connections that are accepted before other work has its turn, such as reading from them."""

RESERVE = 16
"""File descriptors that are kept for connections which come when there are no others."""

RETRY_S = 0.1
"""Pause without any descriptor, in seconds. The kernel holds new connections meanwhile."""

QUIET_S = 60.0
"""Minimum time between two lines of the log about missing descriptors, in seconds."""

_NOT_NOW = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """
    Accepts the connections of one listening socket, and keeps descriptors in reserve for probes.

    Args:
        listener: A listening socket; closed by `stop`.
        places: Gives each connection its place.
        make: Makes the protocol of a connection that has a place.
        tls: TLS's context; None is plain HTTP.
        handshake_timeout_s: Longest time for a TLS handshake, in seconds.
    """

    def __init__(
        self,
        listener: socket.socket,
        places: Places,
        make: Callable[[Place], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None,
        handshake_timeout_s: float,
    ) -> None:
        self._listener = listener
        self._listener.setblocking(False)
        self._places = places
        # Not at once: the socket is still open.
        places.freed = lambda: self._loop.call_soon(self._fill_reserve)
        self._make = make
        self._tls = tls
        # asyncio accepts a time only where there is a handshake.
        self._handshake_timeout_s = handshake_timeout_s if tls else None
        self._loop = asyncio.get_running_loop()
        self._opening: dict[asyncio.Task[None], socket.socket] = {}
        self._reserve: list[int] = []
        self._quiet_until = -math.inf
        self._resume: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to accept connections."""
        self._fill_reserve()
        self._loop.add_reader(self._listener, self._accept)

    def stop(self) -> None:
        """Accept no more connections, and end the handshakes that are under way."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        if self._resume:
            self._resume.cancel()
        for task in self._opening:
            task.cancel()
        while self._reserve:
            os.close(self._reserve.pop())

    def _accept(self) -> None:
        """Accept waiting connections: at least one, as the listener is readable."""
        for attempt in range(ACCEPTED_AT_ONCE):
            try:
                accepted, (address, *_) = self._listener.accept()
            # No other connection waits, or the one that did was aborted.
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NOT_NOW:
                    raise
                # The system takes a descriptor before it reports that no connection waits.
                if attempt == 0:
                    self._accept_from_reserve(error)
                return
            self._admit(accepted, address)

    def _accept_from_reserve(self, error: OSError) -> None:
        """Accept one connection with a descriptor of the reserve."""
        self._warn(error)
        made_room = self._places.make_room()
        if self._reserve:
            os.close(self._reserve.pop())
            with suppress(OSError):  # another thread of the process was faster
                accepted, (address, *_) = self._listener.accept()
                self._admit(accepted, address, probes_only=not made_room)
        # Others hold all descriptors. The listener stays readable and would keep the loop busy.
        elif not made_room:
            self._loop.remove_reader(self._listener)
            self._resume = self._loop.call_later(RETRY_S, self.start)

    def _admit(self, accepted: socket.socket, address: str, *, probes_only: bool = False) -> None:
        place = self._places.take(address, probes_only=probes_only)
        if place is None:
            accepted.close()
            return
        task = self._loop.create_task(self._open(accepted, place))
        place.close = task.cancel
        self._opening[task] = accepted
        task.add_done_callback(self._opened)

    async def _open(self, accepted: socket.socket, place: Place) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._make(place),
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_timeout_s,
            )
        # Its TLS handshake failed, took too long, or was ended: there is no client to answer.
        except (OSError, asyncio.CancelledError):
            place.free()

    def _opened(self, task: asyncio.Task[None]) -> None:
        accepted = self._opening.pop(task)
        # It was ended before it began, and has no transport that closes the socket.
        if task.cancelled():
            accepted.close()

    def _warn(self, error: OSError) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_S
            logger.warning(
                "cannot accept connections: raise the limit of open files (ulimit -n)",
                extra={"error": error.strerror},
            )

    def _fill_reserve(self) -> None:
        missing = RESERVE - len(self._reserve)
        # Not after `stop`, which has closed the listener.
        if missing and self._listener.fileno() >= 0:
            with suppress(OSError):  # none is left
                for _ in range(missing):
                    self._reserve.append(os.open(os.devnull, os.O_RDONLY))
