"""`python -m tests.soak --requests 1000000`: it fails if a call is unaccounted for."""

from __future__ import annotations

import argparse
import asyncio
import math
import sys

from rich.console import Console

from tests.soak.run import Plan, show, soak

MINUTES = 10.0


def main() -> int:
    """Run the soak and print its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=float, help="how many to send")
    parser.add_argument("--minutes", type=float, help="10, unless --requests is given")
    parser.add_argument("--transport", choices=("grpcio", "native"), default="grpcio")
    parser.add_argument("--front-processes", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    minutes = given.minutes or (math.inf if given.requests else MINUTES)
    requests = given.requests or math.inf
    console = Console(emoji=False)
    plan = Plan(given.transport, 60 * minutes, requests, given.seed, fronts=given.front_processes)
    result = asyncio.run(soak(plan, console))
    show(result, console)
    return int(bool(result.problems))


if __name__ == "__main__":
    sys.exit(main())
