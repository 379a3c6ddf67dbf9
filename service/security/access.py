"""The right that each method needs, and the check that a call has it.

A method without an entry in the table is refused: whoever adds one has to decide who may use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from convoy.service.errors import PermissionDeniedError, UnauthenticatedError
from convoy.service.security.sites import SiteCheck
from convoy.service.security.tokens import SEVERAL, Right, Tokens

Needed = Right | Literal["none", "any"]
"""A right; `any` known token; or `none`, for methods that strangers may use."""

NEEDED: Mapping[str, Needed] = {
    # Probes and balancers have no tokens, and these methods reveal one bit.
    **dict.fromkeys(["ServerLive", "ServerReady", "ModelReady", "Check", "Watch"], "none"),
    # They reveal only what is public: the API, and the page without a fact of the server.
    **dict.fromkeys(["ServerReflectionInfo", "PageFiles"], "none"),
    # Clients that infer and people who observe both call these.
    **dict.fromkeys(["ServerMetadata", "ModelMetadata", "ModelConfig", "ListModels"], "any"),
    **dict.fromkeys(["PageModels", "List"], "any"),
    # These answer UNIMPLEMENTED.
    **{
        f"{kind}SharedMemory{verb}": "any"
        for kind in ("System", "Cuda")
        for verb in ("Status", "Register", "Unregister")
    },
    **dict.fromkeys(["TraceSetting", "Unsupported"], "any"),
    **dict.fromkeys(["Classify", "ClassifyBatch", "ModelInfer", "ModelStreamInfer"], "infer"),
    **dict.fromkeys(["PageAnswers", "PageClassMaps", "PageOcclusion"], "infer"),
    **dict.fromkeys(["Metrics", "ModelStatistics", "RepositoryIndex"], "observe"),
    "GetShadow": "observe",
    **dict.fromkeys(["PageComparison", "PageHistory", "PageLayers"], "observe"),
    **dict.fromkeys(["StartShadow", "StopShadow", "PromoteShadow"], "control"),
    **dict.fromkeys(["RepositoryModelLoad", "RepositoryModelUnload", "LogSettings"], "control"),
}
"""
The right that each method needs: rpcs by their names, HTTP's routes by the rpc that they stand for,
or by a name of their own.
"""


class Access:
    """
    Checks whether a call may use its method.

    Args:
        tokens: Tokens with their rights; None lets every client do everything.
        control: Whether this port offers model control and changes of the log's level.
        sites: Refuses requests of other sites' web pages, over HTTP; None allows any host.

    Attributes:
        sites: As given.
    """

    def __init__(
        self,
        tokens: Tokens | None = None,
        *,
        control: bool = True,
        sites: SiteCheck | None = None,
    ) -> None:
        self._tokens = tokens
        self._control = control
        self.sites = sites or SiteCheck()

    def knows(self, token_digest: bytes) -> bool:
        """Return whether a client may learn of models: its token is known, or none is needed."""
        return self._tokens is None or self._tokens.find(token_digest) is not None

    def allows(self, method: str, token_digest: bytes) -> bool:
        """Return whether `check` would pass."""
        try:
            self.check(method, token_digest)
        except (UnauthenticatedError, PermissionDeniedError):
            return False
        return True

    def check(self, method: str, token_digest: bytes) -> None:
        """
        Raise unless a call of *method* is allowed.

        Args:
            token_digest: SHA-256 of its token; empty if it has none; `SEVERAL` if it has several
                Authorization headers.

        Raises:
            UnauthenticatedError: If the method needs a token, and this one is unknown.
            PermissionDeniedError: If the token lacks the right, or this port offers no control, or
                the table does not list the method.
        """
        needed = NEEDED.get(method)
        # Case 1: nobody decided who may use it, or the port offers no control; whatever the token.
        if needed is None or (needed == "control" and not self._control):
            raise PermissionDeniedError(f"{method} is not available on this port")
        # Case 2: the server has no tokens, or the method needs none.
        if self._tokens is None or needed == "none":
            return
        # Case 3: any known token suffices, unless the method needs a right.
        token = self._tokens.find(token_digest)
        if token is None and token_digest == SEVERAL:
            raise UnauthenticatedError("the call has several Authorization headers; send only one")
        if token is None:
            raise UnauthenticatedError(
                f"{method} needs a token: send the header authorization: Bearer TOKEN"
            )
        if needed != "any" and needed not in token.rights:
            raise PermissionDeniedError(f"{method} needs a token with the right {needed}")
