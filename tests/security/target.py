"""The server that is attacked: its addresses, the tokens that it knows, and how to call it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from grpc import Channel, RpcError, insecure_channel

from convoy.service.security.tokens import Right
from tests.harness.http import Answer, ask
from tests.harness.server_process import ServerProcess
from tests.security.entries import HttpRoute

TIMEOUT_S = 20.0
"""Longest that one call may take."""

Credential = Right | Literal["nothing", "unknown"]
"""The right of the token that a client sends; or it sends none, or one that no server knows."""

Verdict = Literal["UNAUTHENTICATED", "PERMISSION_DENIED", "admitted"]

ENDS_ON_ERROR = ("triton_grpc_error", "true")
"""Metadata by which the failure of a request ends its stream with that status."""

_VERDICTS: dict[str | int, Verdict] = {
    **dict.fromkeys(["UNAUTHENTICATED", 401], "UNAUTHENTICATED"),
    **dict.fromkeys(["PERMISSION_DENIED", 403], "PERMISSION_DENIED"),
}
"""By gRPC's and HTTP's statuses."""

Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class Target:
    """
    A server.

    Attributes:
        grpc: `host:port` of its gRPC port.
        http: The same of HTTP.
        control: The same of its port for model control; empty if it has none.
        tokens: A token with each right; rights of which none is known are left out.
        process: The server's process; None if another program started it.
    """

    grpc: str
    http: str
    control: str = ""
    tokens: dict[Right, str] = field(default_factory=dict)
    process: ServerProcess | None = None
    _channels: dict[str, Channel] = field(default_factory=dict, repr=False)

    def authorization(self, credential: Credential) -> str:
        """Return the header's value; empty for `nothing`."""
        if credential == "nothing":
            return ""
        token = "unknown" if credential == "unknown" else self.tokens[credential]
        return f"Bearer {token}"

    def metadata(self, credential: Credential) -> Metadata:
        """Return the metadata of a call with *credential*."""
        value = self.authorization(credential)
        return (ENDS_ON_ERROR, ("authorization", value)) if value else (ENDS_ON_ERROR,)

    def headers(self, credential: Credential) -> dict[str, str]:
        """Return the headers of a request with *credential*."""
        value = self.authorization(credential)
        host = {"host": self.http, "content-type": "application/json"}
        return host | ({"authorization": value} if value else {})

    def call(
        self, path: str, metadata: Metadata, *, address: str = "", message: bytes = b""
    ) -> tuple[str, str]:
        """
        Call the rpc *path*, of whatever kind, with one message.

        Args:
            address: Another port than `grpc`.

        Returns:
            Its status by name, and the message of its error. A stream that has answered is OK.
        """
        rpc: Any = self.channel(address).stream_stream(path)
        # The server may have closed the connection because of an earlier call: open another one.
        waiting = {"timeout": TIMEOUT_S, "wait_for_ready": True}
        answers = rpc(iter([message]), metadata=metadata, **waiting)
        try:
            next(answers, None)
        except RpcError as error:
            return error.code().name, error.details() or ""
        answers.cancel()
        return "OK", ""

    def channel(self, address: str = "") -> Channel:
        """Return the channel to a port; `grpc` by default. It stays open until `close`."""
        address = address or self.grpc
        if address not in self._channels:
            self._channels[address] = insecure_channel(address)
        return self._channels[address]

    def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            channel.close()

    def call_verdict(self, path: str, credential: Credential, address: str = "") -> Verdict:
        """Return whether the rpc *path* admits *credential*."""
        code, _ = self.call(path, self.metadata(credential), address=address)
        return _VERDICTS.get(code, "admitted")

    async def route_verdict(self, route: HttpRoute, credential: Credential) -> Verdict:
        """Return whether *route* admits *credential*."""
        answer = await self.ask(route.verb, route.path, headers=self.headers(credential))
        # Only a router that knows no such route leaves the reason out.
        assert answer.status not in (404, 405) or b"reason" in answer.body or route.verb == "HEAD"
        return _VERDICTS.get(answer.status, "admitted")

    async def ask(self, verb: str, path: str, *, headers: dict[str, str] | None = None) -> Answer:
        """Send one request over HTTP."""
        body = b"{}" if verb == "POST" else b""
        return await ask(verb, f"http://{self.http}{path}", body, headers or {})
