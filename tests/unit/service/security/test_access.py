"""Access is denied by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from convoy.service.errors import PermissionDeniedError
from convoy.service.security.access import Access
from convoy.service.security.tokens import RIGHTS, Token, TokenFile


@pytest.mark.parametrize("with_tokens", [False, True])
def test_method_that_nobody_listed(tmp_path: Path, with_tokens: bool) -> None:
    """A method without an entry in the table is refused, with every right and without tokens."""
    token, _ = Token.make("all", RIGHTS)
    (tmp_path / "tokens").write_text(token.line)
    access = Access(TokenFile(tmp_path / "tokens") if with_tokens else None)
    access.check("ServerMetadata", token.digest)
    with pytest.raises(PermissionDeniedError, match="Forgotten is not available on this port"):
        access.check("Forgotten", token.digest)
