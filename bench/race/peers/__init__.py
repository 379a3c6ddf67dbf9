"""The code of the other servers' models.

What runs inside them (`triton/`, `kserve_server.py`, ...) is run by their own Python, where convoy
is not installed; it is what their documentation shows for a user's own model, with dynamic
batching wherever they have it.
"""
