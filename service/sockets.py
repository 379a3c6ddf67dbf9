"""Listening sockets."""

from __future__ import annotations

import socket


def listen(host: str, port: int) -> socket.socket:
    """
    Listen on an address of either family; 0 picks a free port.

    Raises:
        OSError: If the port is taken or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)
