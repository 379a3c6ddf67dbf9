"""The commands: a module or package for each, whose `main(arguments)` returns the exit code."""
