"""The kind of an output's scores, read from the operators that make it.

They are more reliable than sums: quantised softmax scores need not sum to 1, and logits may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from onnx import NodeProto

from convoy.export.onnx.wiring import SHAPING, Wiring, attribute, branches, called

Kind = Literal["logits", "probabilities", "independent"]

_PASSING = SHAPING | {
    *("QuantizeLinear", "DequantizeLinear", "Dropout", "Expand", "Slice", "Gather", "ZipMap"),
    *("Round", "Floor", "Ceil", "Split", "ArrayFeatureExtractor"),
}
"""Operators behind which scores are of the kind that they were before."""

_LOGITS = {
    *("Gemm", "MatMul", "Conv", "ConvTranspose", "Einsum", "BatchNormalization"),
    *("LayerNormalization", "InstanceNormalization", "GroupNormalization", "LinearClassifier"),
    *("QLinearMatMul", "QLinearConv", "QGemm", "MatMulInteger", "ConvInteger", "ReduceLogSumExp"),
    *("FusedMatMul", "FusedConv", "FusedGemm", "NhwcFusedConv", "MatMulNBits", "LogSoftmax"),
    *("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "TransposeMatMul", "GemmFastGelu"),
}
"""Operators of sums, which give no probabilities. LogSoftmax: softmax gives its argument."""

_SOFTMAX = {"Softmax", "QLinearSoftmax", "BiasSoftmax"}
_SIGMOID = {"Sigmoid", "HardSigmoid", "QLinearSigmoid"}
_CHOOSING = {"ArgMax", "ArgMin", "TopK", "Hardmax", "NonMaxSuppression", "LabelEncoder"}
_RECTIFYING = {"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "QLinearLeakyRelu"}
_AVERAGING = {
    *("ReduceMean", "GlobalAveragePool", "AveragePool"),
    *("QLinearGlobalAveragePool", "QLinearAveragePool", "QLinearReduceMean"),
}
_EXTREMES = {"ReduceMax", "GlobalMaxPool", "MaxPool"}
_SUMS = {"ReduceSum", "ReduceL1"}

_DEEPEST = 50
"""Operators behind which a kind is not looked for."""

_TINY = 1e-3
"""Limit on numbers that are added to probabilities for the sake of a logarithm."""


@dataclass(frozen=True, slots=True)
class Head:
    """
    The end of a graph before one of its values.

    Attributes:
        kind: Kind of the scores; None if the operators do not decide.
        operator: The operator that decides, or that leaves it open; empty if there is none.
        value: The value that the deciding operator makes.
        before: The value that it reads: logits, if it is a softmax or sigmoid.
        is_scaled: Whether probabilities are multiplied by a number behind that operator.
        is_chosen: Whether the operator chooses among scores, which are in `before`.
        is_altered: Whether scores of a known kind went through an operator that changes their
            order or meaning, such as a negation.
    """

    kind: Kind | None
    operator: str = ""
    value: str = ""
    before: str = ""
    is_scaled: bool = False
    is_chosen: bool = False
    is_altered: bool = False


UNKNOWN = Head(None)
"""The head of a value of which nothing is known."""


def read_head(wiring: Wiring, name: str) -> Head:
    """Return the head that ends in the value *name*."""
    return _Reader(wiring).read(name, 0)


class _Reader:
    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    def read(self, name: str, depth: int) -> Head:
        node = self._wiring.maker(name)
        if node is None or depth > _DEEPEST:
            return UNKNOWN
        if branches(node):
            return self._of_branches(node, name, depth)
        if node.op_type in _PASSING:
            # A label is looked up in a constant table, by an index that varies.
            varying = self._varying(node)
            return self.read(varying[0], depth + 1) if varying else UNKNOWN
        # ONNX Runtime's fused operators, and classifiers from scikit-learn, end in an activation.
        if activation := _activation(node):
            kind = _ACTIVATIONS.get(activation.upper())
            return Head(kind, called(node), name, node.input[0])
        return self._of_operator(node, depth)

    def _of_operator(self, node: NodeProto, depth: int) -> Head:
        operator = node.op_type
        found = Head(None, called(node), node.output[0], "".join(node.input[:1]))
        if operator in _SOFTMAX:
            return replace(found, kind="probabilities")
        if self._is_share(node):
            return replace(found, kind="probabilities", before=self._exponent(node))
        if operator in _SIGMOID:
            return replace(found, kind="independent")
        if self._is_logistic(node):
            return replace(found, kind="independent", before=self._exponent(node))
        if operator in _LOGITS:
            return replace(found, kind="logits")
        if operator in _CHOOSING:
            # The least of all: its scores are distances, of which the largest is the worst class.
            chooses_least = operator == "ArgMin" or attribute(node, "largest", 1) == 0
            return replace(found, is_chosen=not chooses_least)
        if combine := _COMBINING.get(operator):
            kinds = [self.read(name, depth + 1) for name in self._varying(node)]
            return combine(self._wiring, node, found, kinds)
        # Any other operator makes something else of scores.
        is_altered = any(self.read(name, depth + 1).kind for name in self._varying(node))
        return replace(found, is_altered=is_altered)

    def _varying(self, node: NodeProto) -> list[str]:
        return [name for name in node.input if name and not self._wiring.is_constant(name)]

    def _of_branches(self, node: NodeProto, name: str, depth: int) -> Head:
        """Return the head that all branches of a condition share, such as PyTorch's `squeeze`."""
        index = list(node.output).index(name)
        heads = [self.read(graph.output[index].name, depth + 1) for graph in branches(node)]
        same = len({(head.kind, head.is_scaled, head.is_chosen) for head in heads}) == 1
        is_plain = same and not heads[0].is_scaled and not heads[0].is_chosen
        return replace(heads[0], value=name) if is_plain else Head(None, called(node), name)

    def _is_share(self, node: NodeProto) -> bool:
        """Return whether *node* divides by a sum of what it divides."""
        if node.op_type == "Normalizer":  # of ai.onnx.ml
            return bool(attribute(node, "norm", b"MAX") == b"L1")
        if node.op_type == "LpNormalization":
            return bool(attribute(node, "p", 2) == 1)
        divisors = {"Div": node.input[1:], "Mul": node.input}.get(node.op_type, ())
        return any(self._sums(name, is_reciprocal=node.op_type == "Mul") for name in divisors)

    def _exponent(self, node: NodeProto) -> str:
        """Return the logits of a softmax that is written out; empty if it is of something else."""
        for name in node.input:
            while (maker := self._wiring.maker(name)) is not None and maker.op_type in SHAPING:
                name = maker.input[0]
            if maker is not None and _is_exp(maker):
                return str(maker.input[0])
        return ""

    def _sums(self, name: str, *, is_reciprocal: bool) -> bool:
        for _ in range(_DEEPEST):
            node = self._wiring.maker(name)
            if node is None:
                return False
            if node.op_type in _SUMS:
                return not is_reciprocal
            # Against a division by 0, in any of the ways that exporters write it.
            if node.op_type == "Reciprocal" and is_reciprocal:
                is_reciprocal = False
            elif node.op_type not in SHAPING | {"Expand", "Clip", "Add", "Max"}:
                return False
            name = node.input[0]
        return False

    def _is_logistic(self, node: NodeProto) -> bool:
        """Return whether *node* is 1 / (1 + exp(-x)) or exp(x) / (1 + exp(x))."""
        divisor = {"Reciprocal": node.input[:1], "Div": node.input[1:]}.get(node.op_type, ())
        if node.op_type == "Div" and self._wiring.scalar(node.input[0]) != 1:
            return any(node.input[0] in exponentials for exponentials in self._one_and(divisor))
        return any(self._one_and(divisor))

    def _one_and(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Yield the exponentials that are added to 1 to make one of *names*."""
        for name in names:
            sum_ = self._wiring.maker(name)
            if sum_ is not None and sum_.op_type == "Add":
                makers = {part: self._wiring.maker(part) for part in sum_.input}
                is_one = any(self._wiring.scalar(part) == 1 for part in sum_.input)
                exponentials = [part for part, maker in makers.items() if _is_exp(maker)]
                yield exponentials if is_one else []


def _is_exp(node: NodeProto | None) -> bool:
    return node is not None and node.op_type == "Exp"


_ACTIVATIONS: dict[str, Kind] = {
    "SOFTMAX": "probabilities",
    "SOFTMAX_ZERO": "probabilities",
    "LOGISTIC": "independent",
    "SIGMOID": "independent",
    "HARDSIGMOID": "independent",
}


def _activation(node: NodeProto) -> str:
    """Return the activation that *node* has built in; empty if there is none that decides."""
    found = attribute(node, "activation") or attribute(node, "post_transform") or b""
    name = found.decode() if isinstance(found, bytes) else ""
    return name if name.upper() in _ACTIVATIONS else ""


def _constants(wiring: Wiring, node: NodeProto) -> list[float | None]:
    """Return the constant operands of *node*: their one number, or None for several."""
    return [wiring.scalar(name) for name in node.input if name and wiring.is_constant(name)]


def _same(heads: Sequence[Head], *kinds: Kind) -> Kind | None:
    """Return the kind of all *heads*, if it is one of *kinds*."""
    found = {head.kind for head in heads}
    kind = heads[0].kind if len(found) == 1 else None
    return kind if kind in kinds else None


def _scaled(wiring: Wiring, node: NodeProto, found: Head, heads: Sequence[Head]) -> Head:
    """x * constant, x / constant."""
    # A product of several, such as a square, or a reciprocal.
    if len(heads) != 1 or (node.op_type == "Div" and wiring.is_constant(node.input[0])):
        return replace(found, is_altered=any(head.kind for head in heads))
    (head,), numbers = heads, _constants(wiring, node)
    # A negative number turns the order of the classes round.
    if head.kind and any(number is not None and number < 0 for number in numbers):
        return replace(found, is_altered=True)
    # A temperature, or a scale per class.
    if head.kind == "logits":
        return replace(found, kind="logits")
    # Percentages; but a sum of several probabilities is divided by their number.
    if head.kind and head.value and numbers[:1] not in ([None], []):
        return replace(head, is_scaled=head.is_scaled or abs((numbers[0] or 0) - 1) > _TINY)
    return head if head.kind and not head.value else found


def _added(wiring: Wiring, node: NodeProto, found: Head, heads: Sequence[Head]) -> Head:
    """Sums of scores, of an ensemble for example, and scores with a constant."""
    numbers = _constants(wiring, node)
    is_taken_from_number = node.op_type == "Sub" and wiring.is_constant(node.input[0])
    # A number less the scores: the order of the classes is turned round.
    if is_taken_from_number and _same(heads, "logits"):
        return replace(found, is_altered=True)
    # A sum with something else, such as log-softmax written out: x - log(sum(exp(x))).
    if any(head.kind == "logits" for head in heads):
        return replace(found, kind="logits")
    # 1 - p of a sigmoid; p + 1e-7.
    is_rest = is_taken_from_number and numbers == [1]
    if is_rest and _same(heads, "independent"):
        return replace(found, kind="independent")
    if len(heads) == 1 and numbers and all(n is not None and abs(n) <= _TINY for n in numbers):
        return heads[0]
    # Probabilities and a number, such as 2 * p - 1.
    if len(heads) == 1 and numbers and heads[0].kind:
        return replace(found, is_altered=True)
    # Probabilities of several networks: their sum tells whether they were divided, see `decide`.
    kind = None if numbers or node.op_type == "Sub" else _same(heads, "probabilities")
    return replace(found, kind=kind, value="")


def _negated(wiring: Wiring, node: NodeProto, found: Head, heads: Sequence[Head]) -> Head:
    """Negated scores, such as negative log-likelihoods; of anything else they may be distances."""
    return replace(found, is_altered=bool(heads and heads[0].kind))


def _joined(wiring: Wiring, node: NodeProto, found: Head, heads: Sequence[Head]) -> Head:
    """Concatenated scores: of groups of classes, or 1 - p beside p."""
    return replace(found, kind=_same(heads, "logits", "independent")) if heads else found


def _averaged(wiring: Wiring, node: NodeProto, found: Head, heads: Sequence[Head]) -> Head:
    """A mean over the places of an image, or over several cuts of it."""
    kind = _same(heads[:1], "logits", "probabilities", "independent") if heads else None
    # A mean of anything else is a sum, as of NiN's last feature maps.
    return replace(found, kind=kind)


def _extreme(wiring: Wiring, node: NodeProto, found: Head, heads: Sequence[Head]) -> Head:
    return replace(found, kind=_same(heads[:1], "logits", "independent") if heads else None)


def _masked(wiring: Wiring, node: NodeProto, found: Head, heads: Sequence[Head]) -> Head:
    """Scores, with a number in place of those of some classes."""
    kind = _same(heads, "logits") if heads else None
    return replace(found, kind=kind, is_altered=any(head.kind for head in heads))


def _rectified(wiring: Wiring, node: NodeProto, found: Head, heads: Sequence[Head]) -> Head:
    return replace(found, kind=_same(heads[:1], "logits") if heads else None)


def _clipped(wiring: Wiring, node: NodeProto, found: Head, heads: Sequence[Head]) -> Head:
    # Clipped sums may be a sigmoid in pieces: clip(x + 3, 0, 6) / 6.
    return heads[0] if heads and heads[0].kind != "logits" else found


def _exponential(wiring: Wiring, node: NodeProto, found: Head, heads: Sequence[Head]) -> Head:
    is_log = bool(heads) and heads[0].operator.startswith("LogSoftmax ")
    if is_log:
        return replace(found, kind="probabilities")
    # Softmax without its division: softmax of this would be something else.
    return replace(found, is_altered=bool(heads and heads[0].kind))


def _logarithm(wiring: Wiring, node: NodeProto, found: Head, heads: Sequence[Head]) -> Head:
    # Softmax gives the probabilities again.
    return replace(found, kind="logits" if heads and _same(heads, "probabilities") else None)


_Combining = Callable[[Wiring, NodeProto, Head, Sequence[Head]], Head]

_COMBINING: dict[str, _Combining] = {
    **dict.fromkeys(("Mul", "Div", "QLinearMul"), _scaled),
    **dict.fromkeys(("Add", "Sum", "Mean", "Sub", "QLinearAdd"), _added),
    **dict.fromkeys(("Concat", "QLinearConcat"), _joined),
    "Neg": _negated,
    **dict.fromkeys(_AVERAGING, _averaged),
    **dict.fromkeys(_EXTREMES, _extreme),
    **dict.fromkeys(_SUMS | _RECTIFYING, _rectified),
    **dict.fromkeys(("Clip", "Min", "Max"), _clipped),
    "Where": _masked,
    "Exp": _exponential,
    "Log": _logarithm,
}
