"""A conformance kit for servers of the Open Inference Protocol; see README.md beside this file."""
