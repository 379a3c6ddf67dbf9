"""Shadows: versions that run on a share of the requests but answer no clients."""
