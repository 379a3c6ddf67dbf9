"""Listening sockets, for both transports alike."""

from __future__ import annotations

import socket


def resolve(host: str) -> str:
    """
    The one address that *host* stands for; of several, the system's first.

    Raises:
        OSError: If the name is none.
    """
    return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])


def listen(address: str, port: int) -> socket.socket:
    """
    Listen on an address of either family; 0 picks a free port, `::` is IPv4, too.

    Raises:
        OSError: If the port is taken or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, dualstack_ipv6=address == "::")
    # Connections inherit it. asyncio sets it only for sockets made in another way, and without it
    # an answer in two parts waits 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
