"""How many floating-point operations one node of a TensorFlow graph takes, by its shapes.

A multiplication and the addition of its product are two operations. A comparison, a division, a
root or an exponential is one. Moving values costs nothing. A convolution is counted as if its
padding were values. Nothing here imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

Shape = tuple[int, ...]


class Node(NamedTuple):
    """One node, with its shapes.

    Args:
        kind: the operation's type, such as `MatMul`.
        inputs: shapes; None where a shape is not known before the run.
        outputs: the same.
        attribute: the value of an attribute by its name.
    """

    kind: str
    inputs: Sequence[Shape | None]
    outputs: Sequence[Shape | None]
    attribute: Callable[[str], Any]


class UnknownError(Exception):
    """A node cannot be counted: its type has no rule here, or its shapes are not known."""


def operations_of(node: Node) -> int:
    """The operations of one node that has floating-point inputs or outputs.

    Raises:
        UnknownError: they are not known.
    """
    if node.kind in _FREE or node.kind.startswith(_FREE_PREFIXES):
        return 0
    rule = _RULES.get(node.kind)
    if rule is None:
        raise UnknownError
    try:
        return rule(node)
    except (IndexError, TypeError) as error:  # a shape is None
        raise UnknownError from error


def _size(shape: Shape | None) -> int:
    if shape is None:
        raise UnknownError
    return prod(shape)


def _per_output(count: int) -> Callable[[Node], int]:
    return lambda node: count * _size(node.outputs[0])


def _per_input(count: int, number: int = 0) -> Callable[[Node], int]:
    return lambda node: count * _size(node.inputs[number])


def _matrix_product(transposed: str) -> Callable[[Node], int]:
    def count(node: Node) -> int:
        left: Any = node.inputs[0]
        inner = left[-2] if node.attribute(transposed) else left[-1]
        return 2 * _size(node.outputs[0]) * int(inner)

    return count


def _einsum(node: Node) -> int:
    """Two operations for each combination of the labels; of one input, one for each value."""
    terms = node.attribute("equation").decode().partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, node.inputs, strict=True):
        before, dots, after = term.partition("...")
        if shape is None:
            raise UnknownError
        middle = len(shape) - len(before) - len(after) if dots else 0
        # labels of an ellipsis are counted from the right, as they are broadcast
        named = [*before, *(f".{middle - place}" for place in range(middle)), *after]
        for name, length in zip(named, shape, strict=True):
            sizes[name] = max(length, sizes.get(name, 1))
    return (2 if len(terms) == 2 else 1) * prod(sizes.values())


def _convolution(result: str, kernel: str, axes: int) -> Callable[[Node], int]:
    """The same for a convolution and its two gradients: products of its results and its kernel.

    Args:
        result: where the shape of the convolution's result is: `output` or `input 2`.
        kernel: the same for its kernel.
        axes: how many of the kernel's last axes do not add products: 1, of a depthwise one 2.
    """

    def shape_of(node: Node, place: str) -> Any:
        return node.outputs[0] if place == "output" else node.inputs[int(place[-1])]

    def count(node: Node) -> int:
        taps = shape_of(node, kernel)
        taps_of_result: Shape = taps[:-axes]
        return 2 * _size(shape_of(node, result)) * _size(taps_of_result)

    return count


def _pooling(extra: int, place: int | None = None) -> Callable[[Node], int]:
    """One operation for each value of a window, for each window."""

    def count(node: Node) -> int:
        pooled = node.outputs[0] if place is None else node.inputs[place]
        window: Shape = node.attribute("ksize")
        return _size(pooled) * (prod(window) + extra)

    return count


def _fused_normalization(node: Node) -> int:
    # training: mean 1, variance 3; then subtract, multiply, scale, add the offset
    return _size(node.inputs[0]) * (8 if node.attribute("is_training") else 4)


def _of_all_inputs(node: Node) -> int:
    return sum(map(_size, node.inputs)) - _size(node.outputs[0])


_ONE_PER_OUTPUT = (
    "Abs Acos Add AddV2 Asin Atan Atan2 Ceil Cos Cosh Digamma Div DivNoNan Elu EluGrad "
    "Equal Erf Erfc Erfinv Exp Expm1 Floor FloorDiv FloorMod Greater GreaterEqual InvGrad IsFinite "
    "IsInf IsNan LeakyRelu LeakyReluGrad Less LessEqual Lgamma Log Log1p Maximum Minimum Mod Mul "
    "MulNoNan Neg NotEqual Pow RealDiv Reciprocal ReciprocalGrad Relu Relu6 Relu6Grad ReluGrad "
    "Rint Round Rsqrt Selu SeluGrad Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Square Sub Tan "
    "Tanh TruncateDiv Xdivy Xlogy"
)
_ONE_PER_INPUT = (
    "All Any ArgMax ArgMin BiasAddGrad Cumprod Cumsum EuclideanNorm InTopKV2 Max Mean Min Prod Sum "
    "TopKV2"
)
_SCATTERED = {
    "ResourceScatterAdd": 2,
    "ResourceScatterMax": 2,
    "ResourceScatterSub": 2,
    "ScatterNd": 1,
    "SegmentSum": 0,
    "SegmentSumV2": 0,
    "TensorScatterAdd": 2,
    "TensorScatterSub": 2,
    "UnsortedSegmentMax": 0,
    "UnsortedSegmentSum": 0,
}

_RULES: dict[str, Callable[[Node], int]] = {
    **{name: _per_output(1) for name in _ONE_PER_OUTPUT.split()},
    **{name: _per_input(1) for name in _ONE_PER_INPUT.split()},
    **{name: _per_input(1, place) for name, place in _SCATTERED.items()},
    "AddN": _of_all_inputs,
    "AssignAddVariableOp": _per_input(1, 1),
    "AssignSubVariableOp": _per_input(1, 1),
    "AvgPool": _pooling(extra=1),
    "AvgPool3D": _pooling(extra=1),
    "AvgPool3DGrad": _pooling(extra=1, place=1),
    "AvgPoolGrad": _pooling(extra=1, place=1),
    "BatchMatMul": _matrix_product("adj_x"),
    "BatchMatMulV2": _matrix_product("adj_x"),
    "BatchMatMulV3": _matrix_product("adj_x"),
    "BiasAdd": _per_output(1),  # to the second axis, where that has the channels
    "ClipByValue": _per_output(2),
    "Conv2D": _convolution("output", "input 1", 1),
    "Conv2DBackpropFilter": _convolution("input 2", "output", 1),
    "Conv2DBackpropInput": _convolution("input 2", "input 1", 1),
    "Conv3D": _convolution("output", "input 1", 1),
    "Conv3DBackpropFilterV2": _convolution("input 2", "output", 1),
    "Conv3DBackpropInputV2": _convolution("input 2", "input 1", 1),
    "DepthwiseConv2dNative": _convolution("output", "input 1", 2),
    "DepthwiseConv2dNativeBackpropFilter": _convolution("input 2", "output", 2),
    "DepthwiseConv2dNativeBackpropInput": _convolution("input 2", "input 1", 2),
    "Einsum": _einsum,
    "FusedBatchNormGradV3": _per_input(10, 1),  # two sums 5, the gradient 5
    "FusedBatchNormV3": _fused_normalization,
    "L2Loss": _per_input(2),
    "LogSoftmax": _per_output(5),  # maximum, subtract, exponential, sum, subtract
    "MatMul": _matrix_product("transpose_a"),
    "MaxPool": _pooling(extra=0),
    "MaxPool3D": _pooling(extra=0),
    "MaxPool3DGrad": _pooling(extra=0, place=2),
    "MaxPoolGrad": _pooling(extra=0, place=2),
    "MirrorPadGrad": _per_input(1),
    "ResizeBilinear": _per_output(6),
    "ResizeBilinearGrad": _per_input(8),
    "RsqrtGrad": _per_output(3),
    "SigmoidGrad": _per_output(3),
    "Softmax": _per_output(5),  # maximum, subtract, exponential, sum, divide
    "SoftmaxCrossEntropyWithLogits": _per_input(8),
    "SoftplusGrad": _per_output(3),
    "SparseSoftmaxCrossEntropyWithLogits": _per_input(6),
    "SqrtGrad": _per_output(2),
    "SquaredDifference": _per_output(2),
    "TanhGrad": _per_output(3),
}

# Their outputs have the shape of their inputs, broadcast.
KEEPS_SHAPE = frozenset((*_ONE_PER_OUTPUT.split(), "Identity", "SelectV2", "SquaredDifference"))

# They make, move or choose values.
_MOVES_VALUES = (
    "Assert AssignVariableOp BatchToSpaceND Bitcast BroadcastTo Cast CheckNumerics Concat "
    "ConcatV2 Const DepthToSpace DynamicStitch Empty EnsureShape ExpandDims Fill Gather "
    "GatherNd GatherV2 Identity IdentityN LinSpace MatrixBandPart MatrixDiagPartV3 MatrixDiagV3 "
    "MirrorPad NoOp OneHot OnesLike Pack Pad PadV2 Placeholder PlaceholderWithDefault "
    "PreventGradient Rank ReadVariableOp Range Reshape ResizeNearestNeighbor ResourceGather "
    "Reverse ReverseV2 Roll Select SelectV2 Shape ShapeN Size Slice Snapshot SpaceToBatchND "
    "SpaceToDepth Split SplitV Squeeze StopGradient StridedSlice StridedSliceGrad Tile "
    "Transpose Unpack VarHandleOp VariableShape Where ZerosLike _Arg _Retval"
)
_FREE = frozenset(_MOVES_VALUES.split())
_FREE_PREFIXES = ("Iterator", "Optional", "Random", "Stateless", "TensorList", "Truncated")
