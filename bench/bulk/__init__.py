"""Speed and memory of `convoy bulk`, and of the same loop by hand: `python -m bench.bulk`."""
