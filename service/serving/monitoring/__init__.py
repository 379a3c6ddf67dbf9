"""Watching models at work: traces of calls."""
