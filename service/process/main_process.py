"""The process of one server: its log, its signals and its exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time

from convoy.service.app import STOP_TIMEOUT_S, Server
from convoy.service.errors import StartError
from convoy.service.machine.environment import warn_of_variables
from convoy.service.machine.resources import map_large_blocks, raise_descriptor_limit
from convoy.service.settings import Settings
from convoy.service.telemetry import logs

logger = logging.getLogger(__name__)


class _Signals:
    """The first SIGTERM or SIGINT stops *server*; a second one ends the process at once."""

    def __init__(self, server: Server, grace_s: float) -> None:
        self._server = server
        self._grace_s = grace_s
        self._received = False
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._receive, number)

    def _receive(self, number: signal.Signals) -> None:
        if self._received:  # a second signal: do not wait for the drain
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            os._exit(128 + number)  # process 1 ignores a signal that has no handler
        self._received = True
        # A person who types Ctrl-C has no balancer that must notice first.
        self._server.request_stop(0.0 if number is signal.SIGINT else self._grace_s)


def run(settings: Settings) -> int:
    """
    Serve until a signal; return the exit code: 1 if the server cannot start, or has failed.

    A thread that is still loading, decoding or running a batch at the end does not delay it: this
    ends the process.
    """
    logs.configure(settings.log_level, settings.log_format)
    warn_of_variables(Settings.model_fields)
    map_large_blocks()
    raise_descriptor_limit()
    code = 0
    try:
        code = asyncio.run(_serve(settings))
        logger.info("stopped")
    except StartError as error:
        logger.error("cannot start: %s", error)
        code = 1
    if busy := _busy_threads():
        logger.warning("ending although threads are still busy", extra={"threads": busy})
    if busy or code:
        # Skip the interpreter's own end: it would wait for threads, and a lost device aborts the
        # process when its memory is freed.
        logging.shutdown()
        os._exit(code)
    return code


def _busy_threads() -> list[str]:
    """Return the names of the threads that do not end within `STOP_TIMEOUT_S`."""
    ends_at = time.monotonic() + STOP_TIMEOUT_S
    others = [t for t in threading.enumerate() if t is not threading.main_thread()]
    for thread in others:
        if not thread.daemon:
            thread.join(max(0.0, ends_at - time.monotonic()))
    return [thread.name for thread in others if thread.is_alive() and not thread.daemon]


async def _serve(settings: Settings) -> int:
    server = Server(settings)
    _Signals(server, settings.shutdown_grace_s)
    await server.serve()
    return 1 if server.failed else 0
