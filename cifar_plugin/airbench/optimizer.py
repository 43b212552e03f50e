"""Muon for convolutions, Nesterov's momentum for everything else, each at a rate of its own."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

# Chosen for their slope at zero: three steps bring singular values of a tenth to about one. They do
# not settle there but stay between 0.5 and 1.5.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 3


def orthogonalized(matrix: Any, steps: int = NEWTON_SCHULZ_STEPS, epsilon: float = 1e-7) -> Any:
    """Bring a matrix's singular values near one and leave its singular vectors.

    Args:
        matrix: (rows, columns) float32.
        steps: of the iteration.
        epsilon: added to the norm that the matrix is divided by at first.

    Returns:
        (rows, columns) float32.

    Source: Newton and Schulz's iteration of fifth order, as in Muon.
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
    """The two optimizers of airbench94_muon, over the groups of variables that it makes.

    Kernels of convolutions follow Muon: a step first scales the kernel to the norm √filters, then
    moves it along its orthogonalised momentum. The last layer's kernel and the biases follow
    stochastic gradient descent with Nesterov's momentum and, as PyTorch has it, a weight decay that
    is part of the gradient.

    All state is a momentum for each variable, and `iterations`.

    Args:
        learning_rate: Muon's; usually a schedule. What is left of it is left of the others too.
        filter_learning_rate: Muon's at step 0.
        bias_learning_rate: the biases' at step 0.
        head_learning_rate: the last layer's at step 0.
        whitening_steps: the learning rate of the bias named `whitening/bias` falls along a line
            and is 0 from this step on.
        filter_momentum: Muon's.
        momentum: of biases and last layer.
        shrinkage: the part of a bias or of the last layer that a step takes off it at full
            learning rate, before momentum adds to it.
        examples: in a batch: the gradients that come are of a mean, these rates are for a sum.
    """

    def __init__(
        self,
        learning_rate: Any,
        filter_learning_rate: float,
        bias_learning_rate: float,
        head_learning_rate: float,
        whitening_steps: int,
        filter_momentum: float,
        momentum: float,
        shrinkage: float,
        examples: int,
        name: str = "muon_and_nesterov",
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **options)
        self.filter_learning_rate = filter_learning_rate
        self.bias_learning_rate = bias_learning_rate
        self.head_learning_rate = head_learning_rate
        self.whitening_steps = whitening_steps
        self.filter_momentum = filter_momentum
        self.momentum = momentum
        self.shrinkage = shrinkage
        self.examples = examples

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self.momenta = [
            self.add_variable_from_reference(variable, name="momentum") for variable in variables
        ]
        # `update_step` is given variables of TensorFlow's, which have no path
        self._of_whitening = [variable.path.endswith("whitening/bias") for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        place = self._get_variable_index(variable)
        momentum = self.momenta[place]
        left = tf.cast(learning_rate, tf.float32) / self.filter_learning_rate
        if len(variable.shape) == 4:
            self._follow_muon(gradient, variable, momentum, left)
        elif len(variable.shape) == 2:
            self._follow_nesterov(gradient, variable, momentum, self.head_learning_rate, left)
        elif self._of_whitening[place]:
            step = tf.cast(self.iterations, tf.float32)
            left = tf.maximum(0.0, 1.0 - step / self.whitening_steps)
            self._follow_nesterov(gradient, variable, momentum, self.bias_learning_rate, left)
        else:
            self._follow_nesterov(gradient, variable, momentum, self.bias_learning_rate, left)

    def _follow_muon(self, gradient: Any, variable: Any, momentum: Any, left: Any) -> None:
        momentum.assign(self.filter_momentum * momentum + gradient)
        ahead = tf.reshape(gradient + self.filter_momentum * momentum, [-1, variable.shape[-1]])
        direction = tf.reshape(orthogonalized(ahead), variable.shape)
        kernel = tf.convert_to_tensor(variable)
        kernel *= math.sqrt(variable.shape[-1]) / tf.norm(kernel)
        variable.assign(kernel - self.filter_learning_rate * left * direction)

    def _follow_nesterov(
        self, gradient: Any, variable: Any, momentum: Any, start: float, left: Any
    ) -> None:
        gradient = self.examples * gradient + (self.shrinkage / start) * variable
        momentum.assign(self.momentum * momentum + gradient)
        variable.assign(variable - start * left * (gradient + self.momentum * momentum))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filter_learning_rate": self.filter_learning_rate,
            "bias_learning_rate": self.bias_learning_rate,
            "head_learning_rate": self.head_learning_rate,
            "whitening_steps": self.whitening_steps,
            "filter_momentum": self.filter_momentum,
            "momentum": self.momentum,
            "shrinkage": self.shrinkage,
            "examples": self.examples,
        }
