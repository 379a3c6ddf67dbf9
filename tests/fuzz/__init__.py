"""Hostile input: seeds, mutations, and the suites that send them."""
