"""A program that queries a server with KServe's own client, over both protocols."""

import asyncio
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig


def request(model: str) -> InferRequest:
    """A request with one black image."""
    pixels = InferInput("image", [1, 32, 32, 1], "UINT8")
    pixels.set_data_from_numpy(np.zeros((1, 32, 32, 1), np.uint8), binary_data=False)
    return InferRequest(model, [pixels])


async def main(model: str, grpc_address: str, url: str) -> None:
    """Print the class that each protocol's client gets."""
    async with InferenceGRPCClient(grpc_address) as grpc_client:
        assert await grpc_client.is_model_ready(model)
        over_grpc = await grpc_client.infer(request(model))
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as rest_client:
        assert await rest_client.is_model_ready(url, model)
        over_rest = await rest_client.infer(url, request(model), model_name=model)
    for response in (over_grpc, over_rest):
        (output,) = (one for one in response.outputs if one.name == "probabilities")
        print(response.model_name, int(np.argmax(output.as_numpy())))


asyncio.run(main(*sys.argv[1:]))
