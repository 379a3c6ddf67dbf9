"""The server: loads artifacts and answers over gRPC in dynamic batches. No PyTorch."""
