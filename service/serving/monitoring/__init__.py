"""Watching models at work: traces of calls, the log of predictions, and drift."""
