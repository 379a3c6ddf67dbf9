"""`python -m tests.soak --minutes 10`: exit code 1 if a request is unaccounted for, or a leak."""

from __future__ import annotations

import argparse
import asyncio
import sys

from rich.console import Console

from tests.soak.run import show, soak


def main() -> int:
    """Run the soak and print its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--transport", choices=("grpcio", "native"), default="grpcio")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    console = Console()
    seconds = given.minutes * 60
    result = asyncio.run(soak(seconds, transport=given.transport, seed=given.seed, console=console))
    show(result, console)
    return int(bool(result.problems))


if __name__ == "__main__":
    sys.exit(main())
