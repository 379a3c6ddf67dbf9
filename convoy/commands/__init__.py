"""The commands, one file each, with a `main(arguments)` that returns the exit code."""
