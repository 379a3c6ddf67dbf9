"""The models that are served: their life cycle, statistics and answers."""
