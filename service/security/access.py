"""The right that each method needs, and the check that a call has it."""

from __future__ import annotations

from collections.abc import Mapping

from convoy.service.errors import PermissionDeniedError, UnauthenticatedError
from convoy.service.security.tokens import Right, Tokens

CONTROL_METHODS = frozenset({"RepositoryModelLoad", "RepositoryModelUnload", "LogSettings"})

OPEN_METHODS = frozenset({"ServerLive", "ServerReady", "ModelReady"})
"""Probes and balancers have no tokens, and these methods reveal one bit. gRPC's health service and
reflection, which reveals only what is public, are open, too."""

_NEEDED: Mapping[str, Right] = {
    **dict.fromkeys(["Classify", "ClassifyBatch", "ModelInfer", "ModelStreamInfer"], "infer"),
    **dict.fromkeys(["Metrics", "ModelStatistics", "RepositoryIndex"], "observe"),
    "PagePreview": "infer",
    **dict.fromkeys(["PageComparison", "PageHistory", "PageLayers"], "observe"),
    **dict.fromkeys(CONTROL_METHODS, "control"),
}
"""Rights that methods need. Any token suffices for the other methods, such as `ModelMetadata` and
`PageModels`: clients that infer and people who observe both call them."""


class Access:
    """
    Checks whether a call may use its method.

    Args:
        tokens: Tokens with their rights; None lets every client do everything.
        control: Whether this port offers model control and changes of the log's level.
    """

    def __init__(self, tokens: Tokens | None = None, *, control: bool = True) -> None:
        self._tokens = tokens
        self._control = control

    def check(self, method: str, token_digest: bytes) -> None:
        """
        Raise unless a call of *method* is allowed.

        Args:
            token_digest: SHA-256 of its token; empty if it has none.

        Raises:
            UnauthenticatedError: If the method needs a token, and this one is unknown.
            PermissionDeniedError: If the token lacks the right, or this port offers no control.
        """
        # Case 1: the port offers no control, whatever the token.
        if method in CONTROL_METHODS and not self._control:
            raise PermissionDeniedError(f"{method} is not offered here")
        # Case 2: the server has no tokens, or the method needs none.
        if self._tokens is None or method in OPEN_METHODS:
            return
        # Case 3: any known token suffices, unless the method needs a right.
        token = self._tokens.find(token_digest)
        if token is None:
            raise UnauthenticatedError(f"{method} needs a token: authorization: Bearer TOKEN")
        needed = _NEEDED.get(method)
        if needed and needed not in token.rights:
            raise PermissionDeniedError(f"{method} needs a token with the right {needed}")
