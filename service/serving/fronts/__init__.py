"""Front processes: each speaks gRPC to its clients, and to the engine through shared memory."""
