"""Muon for convolutions, SGD with Nesterov momentum for the other variables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

# Chosen for their slope at zero: three steps bring singular values of 0.1 to about 1. They do not
# converge to 1 but stay between 0.5 and 1.5.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 3


def orthogonalized(matrix: Any, steps: int = NEWTON_SCHULZ_STEPS, epsilon: float = 1e-7) -> Any:
    """Bring a matrix's singular values near 1, keeping its singular vectors.

    Args:
        matrix: (rows, columns) float32.
        steps: number of iterations.
        epsilon: added to the norm by which the matrix is divided first.

    Returns:
        (rows, columns) float32.

    Source: Newton-Schulz iteration of fifth order, as in Muon.
    """
    rows, columns = matrix.shape
    x = matrix if rows <= columns else tf.transpose(matrix)
    x = x / (tf.norm(x) + epsilon)
    linear, cubic, quintic = COEFFICIENTS
    for _ in range(steps):
        square = tf.matmul(x, x, transpose_b=True)
        x = linear * x + tf.matmul(cubic * square + quintic * tf.matmul(square, square), x)
    return x if rows <= columns else tf.transpose(x)


@keras.saving.register_keras_serializable(package="cifar_plugin")
class MuonAndNesterov(keras.optimizers.Optimizer):  # type: ignore[misc]
    """The two optimizers of airbench94_muon, for its groups of variables.

    Kernels of convolutions are trained with Muon: a step scales the kernel to the norm √filters,
    then subtracts the orthogonalized momentum. The last layer's kernel and the biases are trained
    with SGD, Nesterov momentum and, as in PyTorch, a weight decay that is part of the gradient.

    Its state is one momentum for each variable, and `iterations`.

    Args:
        learning_rate: of Muon, usually a schedule; the other rates decay in proportion to it.
        filter_learning_rate: of Muon at step 0.
        bias_learning_rate: of the biases at step 0.
        head_learning_rate: of the last layer at step 0.
        last_steps: by a part of variables' paths, the step at which their learning rate, which
            decays linearly too, reaches 0. The first part that a path contains counts; the rates
            of the other variables follow `learning_rate`.
        filter_momentum: of Muon.
        momentum: of the biases and the last layer.
        decay_per_step: weight decay of the biases and the last layer: the fraction that a step at
            the full learning rate subtracts, before momentum.
        examples: batch size. Keras's gradients are of the mean loss, these rates are for the sum.
    """

    def __init__(
        self,
        learning_rate: Any,
        filter_learning_rate: float,
        bias_learning_rate: float,
        head_learning_rate: float,
        last_steps: Mapping[str, int],
        filter_momentum: float,
        momentum: float,
        decay_per_step: float,
        examples: int,
        name: str = "muon_and_nesterov",
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **options)
        self.filter_learning_rate = filter_learning_rate
        self.bias_learning_rate = bias_learning_rate
        self.head_learning_rate = head_learning_rate
        self.last_steps = dict(last_steps)
        self.filter_momentum = filter_momentum
        self.momentum = momentum
        self.decay_per_step = decay_per_step
        self.examples = examples

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self.momenta = [
            self.add_variable_from_reference(variable, name="momentum") for variable in variables
        ]
        # `update_step` gets TensorFlow variables, which have no path
        self._last_step_of = [
            next((step for part, step in self.last_steps.items() if part in variable.path), None)
            for variable in variables
        ]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        momentum = self.momenta[index]
        remaining = self._remaining(self._last_step_of[index], learning_rate)
        if len(variable.shape) == 4:
            self._update_with_muon(gradient, variable, momentum, remaining)
        else:
            is_head = len(variable.shape) == 2
            start = self.head_learning_rate if is_head else self.bias_learning_rate
            self._update_with_nesterov(gradient, variable, momentum, start, remaining)

    def _remaining(self, last_step: int | None, learning_rate: Any) -> Any:
        """The part of a variable's first learning rate that is left in this step."""
        if last_step is None:
            return tf.cast(learning_rate, tf.float32) / self.filter_learning_rate
        return tf.maximum(0.0, 1.0 - tf.cast(self.iterations, tf.float32) / last_step)

    def _update_with_muon(
        self, gradient: Any, variable: Any, momentum: Any, remaining: Any
    ) -> None:
        momentum.assign(self.filter_momentum * momentum + gradient)
        ahead = tf.reshape(gradient + self.filter_momentum * momentum, [-1, variable.shape[-1]])
        direction = tf.reshape(orthogonalized(ahead), variable.shape)
        kernel = tf.convert_to_tensor(variable)
        kernel *= math.sqrt(variable.shape[-1]) / tf.norm(kernel)
        variable.assign(kernel - self.filter_learning_rate * remaining * direction)

    def _update_with_nesterov(
        self, gradient: Any, variable: Any, momentum: Any, start: float, remaining: Any
    ) -> None:
        gradient = self.examples * gradient + (self.decay_per_step / start) * variable
        momentum.assign(self.momentum * momentum + gradient)
        variable.assign(variable - start * remaining * (gradient + self.momentum * momentum))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filter_learning_rate": self.filter_learning_rate,
            "bias_learning_rate": self.bias_learning_rate,
            "head_learning_rate": self.head_learning_rate,
            "last_steps": self.last_steps,
            "filter_momentum": self.filter_momentum,
            "momentum": self.momentum,
            "decay_per_step": self.decay_per_step,
            "examples": self.examples,
        }
