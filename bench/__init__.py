"""Measures the server: real processes, real sockets; prints numbers and asserts no time."""
