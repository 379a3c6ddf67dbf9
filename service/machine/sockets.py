"""Listening sockets, the same for both transports."""

from __future__ import annotations

import socket

from convoy.service.errors import StartError


def resolve(host: str) -> str:
    """
    Return the address of *host*; the system's first if it has several.

    Raises:
        StartError: If the name has no address.
    """
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise StartError(f"cannot listen on {host}: {error.strerror}") from error


def listen(address: str, port: int) -> socket.socket:
    """
    Listen on an address of either family; `::` accepts IPv4, too.

    Args:
        port: 0 picks a free one.

    Raises:
        OSError: If the port is in use, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, dualstack_ipv6=address == "::")
    # Connections inherit this. asyncio does not set it on sockets that it did not create, and
    # without it the second part of an answer waits 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
