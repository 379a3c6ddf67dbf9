"""`convoy bench`: load on one model of any Open Inference Protocol server, and how it bears it."""
