"""Which right each method needs, and who has it."""

from __future__ import annotations

from collections.abc import Mapping

from convoy.service.errors import PermissionDeniedError, UnauthenticatedError
from convoy.service.security.tokens import Right, Tokens

CONTROL_METHODS = frozenset({"RepositoryModelLoad", "RepositoryModelUnload", "LogSettings"})

OPEN_METHODS = frozenset({"ServerLive", "ServerReady", "ModelReady"})
"""Probes and balancers have no tokens, and these tell a stranger one bit. gRPC's health service
and reflection, which shows what is public anyhow, are open, too."""

_NEEDED: Mapping[str, Right] = {
    **dict.fromkeys(["Classify", "ClassifyBatch", "ModelInfer", "ModelStreamInfer"], "infer"),
    **dict.fromkeys(["Metrics", "ModelStatistics", "RepositoryIndex"], "observe"),
    "PagePreview": "infer",
    **dict.fromkeys(["PageComparison", "PageHistory", "PageLayers"], "observe"),
    **dict.fromkeys(CONTROL_METHODS, "control"),
}
"""Rights that methods need. For those that are named nowhere, such as `ModelMetadata` and
`PageModels`, which clients of inference and people who look on ask alike, any token will do."""


class Access:
    """
    Lets calls pass, or not.

    Args:
        tokens: Those that may do something; None lets everybody do everything.
        control: Whether models may be loaded and unloaded, and the log's level be changed, here.
    """

    def __init__(self, tokens: Tokens | None = None, *, control: bool = True) -> None:
        self._tokens = tokens
        self._control = control

    def check(self, method: str, token_digest: bytes) -> None:
        """
        Let a call of *method* pass.

        Args:
            token_digest: SHA-256 of its token; empty if it has none.

        Raises:
            UnauthenticatedError: If it needs a token and this is none.
            PermissionDeniedError: If its token has not the right, or nobody has it here.
        """
        if method in CONTROL_METHODS and not self._control:
            raise PermissionDeniedError(f"{method} is not offered here")
        if self._tokens is None or method in OPEN_METHODS:
            return
        token = self._tokens.find(token_digest)
        if token is None:
            raise UnauthenticatedError(f"{method} needs a token: authorization: Bearer TOKEN")
        needed = _NEEDED.get(method)
        if needed and needed not in token.rights:
            raise PermissionDeniedError(f"{method} needs a token with the right {needed}")
