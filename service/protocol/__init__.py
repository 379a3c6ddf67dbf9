"""The services for either transport, messages in and out: the Open Inference Protocol, and ours.

Nothing here imports grpc or starlette: gRPC passes its messages on as they are, and HTTP makes them
from JSON and binary tensors.
"""
