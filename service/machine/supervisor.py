"""Notifications to systemd, or to another supervisor with its protocol (sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket

logger = logging.getLogger(__name__)


def notify(state: str) -> None:
    """
    Report a state, such as `READY=1` or `STOPPING=1`; without a supervisor, do nothing.

    A supervisor that cannot be reached is logged: the server serves all the same.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")  # noqa: TID251 - not a setting of ours
    if not address:
        return
    # An abstract socket, of no file, is written with @ in place of its first byte, zero.
    path = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.sendto(state.encode(), path)
    except OSError as error:
        logger.warning("cannot notify the supervisor: %s", error, extra={"socket": address})
