"""Counts the floating-point operations of traced functions, and of a whole training by them.

The graphs are those that TensorFlow runs; nothing is traced or computed for the count. Their shapes
leave the number of examples open, so the parts that depend on it are built once more with that
number, in a graph of their own that is never run: TensorFlow then infers the shapes.

TensorFlow may save some of the counted operations, by leaving out what it finds to be the same.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from registry_core.training.operation_costs import (
    KEEPS_SHAPE,
    Node,
    UnknownError,
    operations_of,
)
from registry_core.training.pipeline import EVALUATION_BATCH

# The attributes that name the function of a call.
_CALLS = {"PartitionedCall": "f", "StatefulPartitionedCall": "f"}
_BRANCHES = {
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
}
_LOOPS = ("While", "StatelessWhile")

# Constants of more values are replaced by their shape.
_SMALL = 1_000


@dataclass(frozen=True)
class Count:
    """The operations of one call of a function.

    Args:
        operations: of everything that can be counted.
        not_counted: types of operations that cannot, and loops whose passes are not known.
    """

    operations: int = 0
    not_counted: frozenset[str] = frozenset()

    def __add__(self, other: Count) -> Count:
        return Count(self.operations + other.operations, self.not_counted | other.not_counted)

    def times(self, number: int) -> Count:
        return Count(self.operations * number, self.not_counted)


def count_batches(graph: Any, examples: int, batch_size: int, is_step: bool = False) -> Count:
    """The operations of a function that is called with all batches of a pass over a split.

    Args:
        graph: of the function; it takes a batch, or an iterator from which it gets one.
        examples: of the split.
        batch_size: of all batches but the last, which may be smaller.
        is_step: as for `count`.
    """
    whole, rest = divmod(examples, batch_size)
    counted = count(graph, batch_size, is_step).times(whole) if whole else Count()
    return counted + count(graph, rest, is_step) if rest else counted


def count(graph: Any, batch_size: int, is_step: bool = False) -> Count:
    """The operations of a function for a batch.

    Args:
        graph: the function's `FuncGraph`.
        batch_size: what the open first axis of its inputs is taken for.
        is_step: whether it is Keras's function of a training or test step, which may have a loop
            over several batches: one pass is counted.
    """
    counter = _Counter(batch_size)
    with counter.flat.as_default():
        inputs = [counter.of_shape(tensor) for tensor in graph.inputs]
        counter.walk(graph, inputs, outermost=is_step)
    return Count(sum(counter.found.values()), frozenset(counter.not_counted))


@dataclass
class _Value:
    """A tensor of a walked function: its shape, and the tensor with that shape if one was made.

    Or what makes that tensor, as its output of this number.
    """

    dtype: Any
    shape: tuple[int, ...] | None
    tensor: Any = None
    number: int = 0


@dataclass
class _Counter:
    """Walks functions; `found` has the operations by type."""

    batch_size: int
    flat: Any = field(default_factory=tf.Graph)
    found: Counter[str] = field(default_factory=Counter)
    not_counted: set[str] = field(default_factory=set)

    def walk(self, graph: Any, inputs: Sequence[_Value], outermost: bool = False) -> list[_Value]:
        """Count a function's operations; returns its outputs."""
        known = {tensor.name: value for tensor, value in zip(graph.inputs, inputs, strict=True)}
        done = {tensor.op.name for tensor in graph.inputs}
        pending = list(reversed(_executed(graph)))
        while pending:
            operation = pending.pop()
            if operation.name in done:
                continue
            # the inputs of a loop that has a gradient are newer than the loop
            if newer := [each.op for each in operation.inputs if each.name not in known]:
                pending += [operation, *newer]
                continue
            given = [known[tensor.name] for tensor in operation.inputs]
            made = self._step(graph, operation, given, outermost)
            known.update(
                (tensor.name, value) for tensor, value in zip(operation.outputs, made, strict=True)
            )
            done.add(operation.name)
        return [known[tensor.name] for tensor in graph.outputs]

    def _step(
        self, graph: Any, operation: Any, given: Sequence[_Value], outermost: bool
    ) -> Iterable[_Value]:
        kind = operation.type
        if kind in _CALLS:
            return self.walk(_function(graph, operation, _CALLS[kind]), given, outermost)
        if kind in _BRANCHES:
            return self._costliest(graph, operation, given[1:], outermost)
        if kind in _LOOPS:
            return self._loop(graph, operation, given, outermost)
        made = self._made(operation, given)
        if any(each.dtype.is_floating for each in (*given, *made)):
            node = Node(
                kind,
                [each.shape for each in given],
                [each.shape for each in made],
                operation.get_attr,
            )
            try:
                self.found[kind] += operations_of(node)
            except UnknownError:
                self.not_counted.add(kind)
        return made

    def _costliest(
        self, graph: Any, operation: Any, given: Sequence[_Value], outermost: bool
    ) -> list[_Value]:
        """Count the branch with more operations."""
        before, branches = self.found, []
        for name in _BRANCHES[operation.type]:
            self.found = Counter()
            outputs = self.walk(_function(graph, operation, name), given, outermost)
            branches.append((sum(self.found.values()), self.found, outputs))
        _, found, outputs = max(branches, key=lambda branch: branch[0])
        self.found = before + found
        return outputs

    def _loop(
        self, graph: Any, operation: Any, given: Sequence[_Value], outermost: bool
    ) -> list[_Value]:
        body = _function(graph, operation, "body")
        before, self.found = self.found, Counter()
        outputs = self.walk(body, given, outermost)
        passes = 1 if outermost else self._passes(given)
        if passes is None and self.found.total():
            self.not_counted.add("loops with an unknown number of passes")
        once, self.found = self.found, before
        for kind, operations in once.items():
            self.found[kind] += operations * (passes or 0)
        if passes is not None and outputs:
            counter = outputs[0]  # the gradient's loop has as many
            outputs[0] = _Value(counter.dtype, (), tf.constant(passes, counter.dtype))
        return outputs

    def _passes(self, given: Sequence[_Value]) -> int | None:
        """The passes of `tf.while_loop`: the most it may make, or those of its forward loop."""
        for value in given[1:3]:
            if value.tensor is not None and value.shape == () and value.dtype.is_integer:
                try:
                    # TensorFlow computes what is constant in order to infer this shape
                    (number,) = tf.fill(tf.reshape(self.tensor(value), (1,)), 0).shape
                except ValueError:  # -1: no limit
                    continue
                if number:
                    return int(number)
        return None

    def _made(self, operation: Any, given: Sequence[_Value]) -> list[_Value]:
        """The outputs of an operation that calls no function."""
        outputs = operation.outputs
        if not outputs:
            return []
        resources = any(each.dtype == tf.resource for each in (*operation.inputs, *outputs))
        if resources or operation.type.startswith(("Iterator", "Optional")):
            return [self.of_shape(tensor) for tensor in outputs]
        floats = all(tensor.dtype.is_floating for tensor in outputs)
        if floats and all(tensor.shape.is_fully_defined() for tensor in outputs):
            return [self.of_shape(tensor) for tensor in outputs]
        shapes = [each.shape for each in given if each.shape is not None]
        if floats and operation.type in KEEPS_SHAPE and len(shapes) == len(given):
            return [_Value(outputs[0].dtype, tuple(np.broadcast_shapes(*shapes)))]
        if all(tensor.shape.is_fully_defined() for tensor in outputs):
            again = _Later(self, operation, given)  # the numbers in shapes are seldom needed
            return [
                _Value(tensor.dtype, _known(tensor.shape), again, number)
                for number, tensor in enumerate(outputs)
            ]
        made = self.made_again(operation, given)
        values = []
        for tensor, new in zip(outputs, made, strict=True):
            new.set_shape(tensor.shape)  # Python code may have told it
            values.append(_Value(new.dtype, _known(new.shape), new))
            if values[-1].shape is None and operation.type.startswith("TensorList"):
                values[-1] = self.of_shape(tensor)
        return values

    def made_again(self, operation: Any, given: Sequence[_Value]) -> Sequence[Any]:
        """The outputs of an operation that takes these values, for the shapes."""
        if operation.type == "Const" and operation.outputs[0].shape.num_elements() > _SMALL:
            only = operation.outputs[0]
            return [self._placeholder(only.dtype, only.shape)]
        attributes = operation.node_def.attr
        outputs: Sequence[Any] = self.flat._create_op_internal(
            operation.type,
            [self.tensor(value) for value in given],
            [tensor.dtype for tensor in operation.outputs],
            attrs={k: v for k, v in attributes.items() if not k.startswith("_")},
            op_def=operation.op_def,
            compute_device=False,
        ).outputs
        return outputs

    def of_shape(self, tensor: Any) -> _Value:
        """A value of a tensor's shape, whose open first axis, or only open one, is the batch."""
        axes = None if tensor.shape.rank is None else tensor.shape.as_list()
        if axes and None in axes and (axes.count(None) == 1 or axes[0] is None):
            axes[axes.index(None)] = self.batch_size
        return _Value(tensor.dtype, _known(tf.TensorShape(axes)))

    def tensor(self, value: _Value) -> Any:
        """The tensor of a value in the graph of this count."""
        if isinstance(value.tensor, _Later):
            value.tensor = value.tensor.outputs()[value.number]
        if value.tensor is None:
            value.tensor = self._placeholder(value.dtype, value.shape)
        return value.tensor

    def _placeholder(self, dtype: Any, shape: Any) -> Any:
        attributes = {
            "dtype": tf.compat.v1.AttrValue(type=dtype.as_datatype_enum),
            "shape": tf.compat.v1.AttrValue(shape=tf.TensorShape(shape).as_proto()),
        }
        return self.flat._create_op_internal(
            "Placeholder", [], [dtype], attrs=attributes, compute_device=False
        ).outputs[0]


@dataclass
class _Later:
    """An operation that is made again when a shape depends on it."""

    counter: _Counter
    operation: Any
    given: Sequence[_Value]
    made: Sequence[Any] | None = None

    def outputs(self) -> Sequence[Any]:
        if self.made is None:
            self.made = self.counter.made_again(self.operation, self.given)
        return self.made


def _executed(graph: Any) -> list[Any]:
    """The operations that TensorFlow runs: it leaves out what nothing depends on.

    Such as the gradient of a first layer's inputs, which is in every training step.
    """
    operations = graph.get_operations()
    pending = [tensor.op for tensor in graph.outputs]
    pending += [each for each in operations if each.op_def.is_stateful]
    live: set[str] = set()
    while pending:
        operation = pending.pop()
        if operation.name not in live:
            live.add(operation.name)
            pending += [tensor.op for tensor in operation.inputs]
            pending += operation.control_inputs
    return [each for each in operations if each.name in live]


def _known(shape: Any) -> tuple[int, ...] | None:
    return tuple(shape.as_list()) if shape.is_fully_defined() else None


def _function(graph: Any, operation: Any, attribute: str) -> Any:
    """The graph of a function that an operation calls."""
    name = operation.get_attr(attribute).name
    while (found := graph._get_function(name)) is None:
        graph = graph.outer_graph
    return found.graph


# --- of a training -------------------------------------------------------------------------------


class TrainingOperations:
    """The operations of a training, which may have phases and may have been resumed.

    What cannot be counted never stops a run.

    Args:
        examples: of the training split.
        batch_size: of the run.
        validation: examples of the validation split; 0 without one.
        why_not: why nothing can be counted; empty if it can.
        earlier: the result of `state` when the run was stopped.
    """

    def __init__(
        self,
        examples: int,
        batch_size: int,
        validation: int = 0,
        why_not: str = "",
        earlier: Mapping[str, Any] | None = None,
    ) -> None:
        self._examples, self._batch_size = examples, batch_size
        self._validation = validation
        self._why_not = why_not
        # phase -> what is counted -> operations; JSON, whose keys are text
        self._phases: dict[str, dict[str, Any]] = dict(earlier or {})

    def state(self) -> dict[str, Any]:
        """What was counted so far, as JSON for a checkpoint."""
        return self._phases

    def note_step(self, phase: int, graph: Any) -> None:
        """Count the training step of a phase: its graph, or None if it runs eagerly."""
        if graph is None:
            self._why_not = self._why_not or "the model runs eagerly"
        if self._why_not or "step" in self._phases.get(str(phase), {}):
            return
        size = min(self._batch_size, self._examples)
        if (step := self._counted(lambda: count(graph, size, is_step=True))) is not None:
            rest = self._examples % size
            last = self._counted(lambda: count(graph, rest, is_step=True)) if rest else Count()
            if last is not None:
                epoch = step.times(self._examples // size) + last
                self._phases[str(phase)] = {
                    "step": step.operations,
                    "epoch": epoch.operations,
                    "not_counted": sorted(epoch.not_counted),
                }

    def note_validation(self, phase: int, model: Any) -> None:
        """Count the validation after an epoch of a phase, once it has been traced."""
        known = self._phases.get(str(phase))
        if not self._validation or known is None or "validation" in known:
            return
        if (graph := graph_of_validation(model)) is not None:
            size = EVALUATION_BATCH
            found = self._counted(
                lambda: count_batches(graph, self._validation, size, is_step=True)
            )
            if found is not None:
                known["validation"] = found.operations
                known["not_counted"] = sorted({*known["not_counted"], *found.not_counted})

    def to_json(self, epochs: Sequence[int]) -> dict[str, Any]:
        """What a version records.

        Args:
            epochs: how many ran in each phase.
        """
        ran = [
            (number, self._phases.get(str(phase)))
            for phase, number in enumerate(epochs)
            if number or len(epochs) == 1
        ]
        phases = [(number, found) for number, found in ran if found is not None]
        if len(phases) < len(ran) and not self._why_not:
            self._why_not = "the run began before this was counted"
        if self._why_not:
            return {**_NOTHING, "why_not": self._why_not}
        checked = all("validation" in found for number, found in phases if number)
        return {
            "training": sum(number * found["epoch"] for number, found in phases),
            "per_step": phases[-1][1]["step"],
            "validation": (
                sum(number * found.get("validation", 0) for number, found in phases)
                if checked or not self._validation
                else None
            ),
            "not_counted": sorted({kind for _, found in phases for kind in found["not_counted"]}),
            "why_not": None,
        }

    def _counted(self, counting: Callable[[], Count]) -> Count | None:
        try:
            return counting()
        except Exception as error:
            self._why_not = f"the graph could not be read ({type(error).__name__})"
            return None


_NOTHING: Mapping[str, Any] = {
    "training": None,
    "per_step": None,
    "validation": None,
    "not_counted": [],
}


def count_evaluation(function: Any, examples: int) -> dict[str, Any]:
    """The operations of an evaluation by a traced `tf.function` of a batch.

    Args:
        function: that was called with all batches; the last of its traces is the most general.
        examples: of the split.
    """
    try:
        *_, traced = function._list_all_concrete_functions()
        found = count_batches(traced.graph, examples, EVALUATION_BATCH)
    except Exception as error:
        return {"operations": None, "not_counted": [], "why_not": f"{type(error).__name__}"}
    return {
        "operations": found.operations,
        "not_counted": sorted(found.not_counted),
        "why_not": None,
    }


def graph_of_validation(model: Any) -> Any:
    """The graph of the test step that `fit` has traced; None if there is none."""
    if model.run_eagerly or model.test_function is None:
        return None
    around = inspect.getclosurevars(model.test_function).nonlocals.values()
    for each in around:
        if isinstance(each, tf.types.experimental.GenericFunction):
            for traced in each._list_all_concrete_functions():
                return traced.graph
    return None
