"""Reads a PyTorch network: traced by torch.fx, with the shapes that one image gets on its way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from convoy.artifact.layers import Layer
from convoy.export.describing import operations
from convoy.export.errors import ExportError


def build_network(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network for evaluation, without values in its weights and auxiliary heads."""
    with torch.device("meta"):
        network = build().eval()
    drop_auxiliary = getattr(network, "drop_auxiliary", None)
    if callable(drop_auxiliary):
        drop_auxiliary()
    return network


def read_network(network: nn.Module, shape: tuple[int, int, int]) -> list[Layer]:
    """
    Read the operations of *network*, in the order in which they run.

    Args:
        network: In evaluation mode, on the device `meta`, where only shapes are computed.
        shape: Of the image: channels, height, width.

    Raises:
        ExportError: If it does not take an image of this shape.
    """
    reader = _Reader(fx.symbolic_trace(network))
    try:
        reader.run(torch.zeros(1, *shape, device="meta"))
    except RuntimeError as error:
        size, reason = "x".join(map(str, shape)), str(error).splitlines()[0].rstrip(".")
        raise ExportError(f"the network does not accept images of {size}: {reason}") from error
    return reader.layers


class _Reader(fx.Interpreter):
    """Runs a traced network and records each operation on tensors as a layer."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.layers: list[Layer] = []
        self._places: dict[fx.Node, int] = {}  # of what depends on the image

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        # Only what depends on the image is a layer; the image itself is the placeholder.
        inputs = tuple(self._places[node] for node in n.all_input_nodes if node in self._places)
        first = result[0] if isinstance(result, tuple | list) and result else result
        is_operation = n.op == "placeholder" or (inputs and n.op != "output")
        if is_operation and isinstance(first, Tensor):
            self._note(n, inputs, tuple(first.shape[1:]))
        return result

    def _note(self, node: fx.Node, inputs: tuple[int, ...], shape: tuple[int, ...]) -> None:
        layer = self._layer(node, inputs, shape)
        if layer is None:
            self._places[node] = inputs[0]
        else:
            self._places[node] = len(self.layers)
            self.layers.append(layer)

    def _layer(
        self, node: fx.Node, inputs: tuple[int, ...], shape: tuple[int, ...]
    ) -> Layer | None:
        """Return the layer of *node*; None if it changes nothing."""
        if node.op == "placeholder":
            return Layer(name="image", kind="input", inputs=(), output_shape=shape)
        before = self.layers[inputs[0]].output_shape
        if node.op == "call_module":
            name = str(node.target)
            module = self.fetch_attr(name)
            plain = Layer(name=name, kind="", inputs=inputs, output_shape=shape)
            return operations.of_module(plain, module, before)
        # It takes one of several tensors.
        if isinstance(self.env.get(node.all_input_nodes[0]), tuple):
            return None
        stack = node.meta.get("nn_module_stack") or {}
        plain = Layer(name=next(reversed(stack), ""), kind="", inputs=inputs, output_shape=shape)
        return operations.of_function(plain, node, before)
