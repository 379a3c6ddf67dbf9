"""A name server on this machine, for tests in which servers come and go under one name."""

from __future__ import annotations

import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self

TTL_S = 30
"""Time that clients may keep an answer, in seconds; kubeadm's CoreDNS says the same."""

_RECURSION_AND_AUTHORITY = 0x8580
_NAME_DOES_NOT_EXIST = 3
_ADDRESS_RECORD = 1
_POINTER_TO_THE_QUESTION = b"\xc0\x0c"


class NameServer:
    """
    Answers each question with the same IPv4 addresses; without any, the name does not exist.

    Args:
        lag_s: Age of the addresses that it answers with, as of caches between it and its clients.

    Attributes:
        address: `host:port` that it listens on, over UDP.
    """

    def __init__(self, lag_s: float = 0.0) -> None:
        self._lag_s = lag_s
        self._history: list[tuple[float, list[str]]] = [(0.0, [])]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def set(self, hosts: list[str]) -> None:
        """Let the name stand for *hosts*, IPv4 addresses."""
        self._history.append((time.monotonic(), list(hosts)))

    def _hosts(self) -> list[str]:
        seen = time.monotonic() - self._lag_s
        return [hosts for since, hosts in self._history if since <= seen][-1]

    def _answer(self) -> None:
        while True:
            query, client = self._socket.recvfrom(4096)
            if not query:
                return
            self._socket.sendto(_response(query, self._hosts()), client)


def _response(query: bytes, hosts: list[str]) -> bytes:
    # RFC 1035, section 4: a header of 12 bytes, then the name, its type and its class.
    end = query.index(0, 12) + 5
    (kind,) = struct.unpack("!H", query[end - 4 : end - 2])
    flags = _RECURSION_AND_AUTHORITY | (0 if hosts else _NAME_DOES_NOT_EXIST)
    told = hosts if kind == _ADDRESS_RECORD else []
    header = query[:2] + struct.pack("!HHHHH", flags, 1, len(told), 0, 0)
    record = _POINTER_TO_THE_QUESTION + struct.pack("!HHIH", _ADDRESS_RECORD, 1, TTL_S, 4)
    return header + query[12:end] + b"".join(record + socket.inet_aton(host) for host in told)
