"""The models of a repository against each other: accuracy, speed, memory, size."""
