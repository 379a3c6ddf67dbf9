"""A link to a server on this machine that passes a limited number of bytes each second."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK = 4096


class SlowLink:
    """
    A proxy of TCP connections to a port.

    Args:
        target: The port of the server.
        bytes_per_s: Bytes of its answers that pass in a second, on each connection.

    Attributes:
        port: The port that the proxy listens on.
    """

    def __init__(self, target: int, bytes_per_s: int) -> None:
        self._target = target
        self._pause_s = _CHUNK / bytes_per_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=[client], daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            requests = threading.Thread(target=_copy, args=[client, server, 0.0])
            requests.start()
            _copy(server, client, self._pause_s)
            requests.join()


def _copy(source: socket.socket, sink: socket.socket, pause_s: float) -> None:
    with suppress(OSError):  # either side closed its connection
        while data := source.recv(_CHUNK):
            sink.sendall(data)
            time.sleep(pause_s)
        sink.shutdown(socket.SHUT_WR)
