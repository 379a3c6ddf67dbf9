"""The commands: a module or package for each, whose `main(arguments)` returns the exit code."""

import os

# Read by gRPC when it is imported. Otherwise it prints each failed handshake, in its own words,
# between the lines of a command or of the server's log.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # noqa: TID251 - not a setting of ours
