"""The processes of a server: its own, or that of the engine, and those of its fronts."""
