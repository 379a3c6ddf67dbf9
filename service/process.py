"""The life of the process: start, serve until a signal or a fatal error, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
import time
from typing import Any

from convoy.service.app import STOP_TIMEOUT_S, Server
from convoy.service.errors import StartError
from convoy.service.resources import map_large_blocks
from convoy.service.settings import Settings
from convoy.service.telemetry import logs

logger = logging.getLogger(__name__)


class _Signals:
    """
    The first SIGTERM or SIGINT asks for a stop; a second one ends the process at once.

    Attributes:
        first: The first signal, once there is one.
    """

    def __init__(self) -> None:
        self.first: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._receive, number)

    def _receive(self, number: signal.Signals) -> None:
        if not self.first.done():
            self.first.set_result(number)
            return
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def run(settings: Settings) -> int:
    """
    Serve until a signal; returns the process's exit code: 1 if the server cannot start, or ended
    for a fatal error.

    A thread that is still loading, decoding or running a batch when all is over does not hold
    the end: the process is ended from here.
    """
    logs.configure(settings.log_level, settings.log_format)
    map_large_blocks()
    code = 0
    try:
        code = asyncio.run(_serve_until_the_end(settings))
        logger.info("stopped")
    except StartError as error:
        logger.error("cannot start: %s", error)
        code = 1
    if busy := _busy_threads():
        logger.warning("ending although threads are busy", extra={"threads": busy})
    if busy or code:
        # A lost device cannot be told to let go of what it holds: that ends in an abort.
        logging.shutdown()
        os._exit(code)
    return code


def _busy_threads() -> list[str]:
    """Names of the threads that do not end by themselves in a moment."""
    ends_at = time.monotonic() + STOP_TIMEOUT_S
    others = [t for t in threading.enumerate() if t is not threading.main_thread()]
    for thread in others:
        if not thread.daemon:
            thread.join(max(0.0, ends_at - time.monotonic()))
    return [thread.name for thread in others if thread.is_alive() and not thread.daemon]


async def _serve_until_the_end(settings: Settings) -> int:
    signals = _Signals()
    async with Server(settings) as server:
        loading = asyncio.create_task(server.load())
        either: set[asyncio.Future[Any]] = {loading, signals.first}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            loading.cancel()
            return 0
        loading.result()
        # What is there now stays; looking through it again and again for garbage would take a
        # tenth of the time of a small network's request.
        gc.freeze()
        fatal = asyncio.create_task(server.fatal.wait())
        ends: set[asyncio.Future[Any]] = {fatal, signals.first}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if fatal.done():
            logger.error("a fatal error: ending, for whoever starts it again")
            await server.drain(0.0)
            return 1
        fatal.cancel()
        # A person who types Ctrl-C has no balancer that must see it first.
        by_hand = signals.first.result() is signal.SIGINT
        await server.drain(0.0 if by_hand else settings.shutdown_grace_s)
        return 0
