"""A small HTTP client for tests: the standard library's, in a thread."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request


async def get(url: str, **headers: str) -> tuple[int, str]:
    """Status and body of an answer."""
    return await asyncio.to_thread(_get, urllib.request.Request(url, headers=headers))


def _get(request: urllib.request.Request) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
