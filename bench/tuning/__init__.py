"""`convoy tune`: how a model runs best on this machine."""
