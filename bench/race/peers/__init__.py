"""The other servers: how each is installed, given a model, started, and asked.

What runs inside them (`triton/`, `kserve_server.py`, ...) is run by their own Python, where convoy
is not installed; it is what their documentation shows for a model of one's own, with dynamic
batching wherever they have it.
"""
