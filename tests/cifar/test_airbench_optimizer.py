"""Convolutions follow Muon, everything else Nesterov, at rates that end where they should."""

from types import MappingProxyType

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


def matrix(rows, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype("float32")


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (216, 64), (64, 576)])
def test_newton_schulz_approximates_the_orthogonal_factor_of_the_svd(rows, columns):
    """The same singular vectors; singular values that were not tiny end between 0.5 and 1.5."""
    from cifar_plugin.airbench.optimizer import orthogonalized

    given = matrix(rows, columns)
    left, strengths, right = np.linalg.svd(given, full_matrices=False)
    found = orthogonalized(given, steps=5).numpy()
    inside = left.T @ found @ right.T
    np.testing.assert_allclose(inside, np.diag(np.diag(inside)), atol=1e-3)
    ordinary = strengths > 0.01 * np.linalg.norm(strengths)
    assert (np.diag(inside)[ordinary] > 0.5).all() and (np.diag(inside) < 1.5).all()


def test_orthogonalization_ignores_the_scale():
    """A step of Muon has the same length for any scale of the gradient."""
    from cifar_plugin.airbench.optimizer import orthogonalized

    given = matrix(16, 32)
    np.testing.assert_allclose(orthogonalized(1e3 * given), orthogonalized(1e-3 * given), atol=1e-3)


class Steps:
    """One variable of each group, moved by the same gradients as a plain NumPy reckoning."""

    bias_rate, head_rate, filter_rate, steps = 0.05, 0.6, 0.24, 6
    last_steps = MappingProxyType({"whitening": 3, "convolution1": 4})
    momentum, filter_momentum, decay_per_step, examples = 0.85, 0.6, 0.004, 10

    def __init__(self):
        import keras

        from cifar_plugin.airbench.optimizer import MuonAndNesterov
        from cifar_plugin.airbench.schedule import LinearDecay

        random = np.random.default_rng(1)
        shapes = {
            "kernel": (3, 3, 4, 8),
            "convolution1_2/kernel": (3, 3, 4, 8),
            "head": (8, 10),
            "beta": (8,),
            "whitening/bias": (8,),
        }
        self.values = {name: random.normal(size=shape) for name, shape in shapes.items()}
        self.gradients = [
            {name: random.normal(size=shape) for name, shape in shapes.items()}
            for _ in range(self.steps)
        ]
        self.optimizer = MuonAndNesterov(
            LinearDecay(self.filter_rate, self.steps),
            filter_learning_rate=self.filter_rate,
            bias_learning_rate=self.bias_rate,
            head_learning_rate=self.head_rate,
            last_steps=self.last_steps,
            filter_momentum=self.filter_momentum,
            momentum=self.momentum,
            decay_per_step=self.decay_per_step,
            examples=self.examples,
        )
        self.variables = {}
        for name, value in self.values.items():
            scope, _, last = name.rpartition("/")
            with keras.name_scope(scope or "net"):
                self.variables[name] = keras.Variable(value, dtype="float32", name=last)

    def follow(self):
        """The variables after every step."""
        after = []
        for gradients in self.gradients:
            pairs = [(gradients[name].astype("float32"), v) for name, v in self.variables.items()]
            self.optimizer.apply_gradients(pairs)
            after.append({name: v.numpy() for name, v in self.variables.items()})
        return after

    def expected(self, name, rate, left):
        """PyTorch's SGD, nesterov=True, weight_decay=decay_per_step / rate, gradients of a sum."""
        value, buffer, after = self.values[name].copy(), 0.0, []
        for step, gradients in enumerate(self.gradients):
            gradient = self.examples * gradients[name] + self.decay_per_step / rate * value
            buffer = self.momentum * buffer + gradient
            value = value - rate * left(step) * (gradient + self.momentum * buffer)
            after.append(value)
        return after

    def expected_kernel(self, name, last_step):
        """Muon with its iteration written out once more, in float64."""
        value, buffer, after = self.values[name].copy(), 0.0, []
        for step, gradients in enumerate(self.gradients):
            buffer = self.filter_momentum * buffer + gradients[name]
            ahead = (gradients[name] + self.filter_momentum * buffer).reshape(-1, 8).T
            x = ahead / np.linalg.norm(ahead)
            for _ in range(3):
                s = x @ x.T
                x = 3.4445 * x + (-4.7750 * s + 2.0315 * s @ s) @ x
            value = value * np.sqrt(8) / np.linalg.norm(value)
            rate = self.filter_rate * max(0, 1 - step / last_step)
            value = value - rate * x.T.reshape(3, 3, 4, 8)
            after.append(value)
        return after


def test_each_group_of_variables_matches_the_source():
    """Six steps of every group against NumPy."""
    steps = Steps()
    after = steps.follow()

    def all_the_way(step):
        return 1 - step / steps.steps

    def half_the_way(step):
        return max(0, 1 - step / steps.last_steps["whitening"])

    expected = {
        "kernel": steps.expected_kernel("kernel", steps.steps),
        "convolution1_2/kernel": steps.expected_kernel("convolution1_2/kernel", 4),
        "head": steps.expected("head", steps.head_rate, all_the_way),
        "beta": steps.expected("beta", steps.bias_rate, all_the_way),
        "whitening/bias": steps.expected("whitening/bias", steps.bias_rate, half_the_way),
    }
    for name, values in expected.items():
        for step, value in enumerate(values):
            np.testing.assert_allclose(after[step][name], value, rtol=2e-4, atol=2e-4)


def test_the_whitening_bias_is_fixed_after_its_last_step():
    """The other biases are still trained."""
    after = Steps().follow()
    np.testing.assert_array_equal(after[2]["whitening/bias"], after[5]["whitening/bias"])
    assert (after[2]["beta"] != after[3]["beta"]).all()


def test_the_state_is_one_momentum_per_variable_and_the_step():
    """A checkpoint of the optimizer's variables is complete."""
    steps = Steps()
    steps.follow()
    shapes = [tuple(v.shape) for v in steps.optimizer.variables]
    assert shapes == [(), *(value.shape for value in steps.values.values())]


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.24), (50, 0.12), (199, 0.0012), (200, 0), (9e3, 0)]
)
def test_the_learning_rate_decays_linearly(step, rate):
    """At the first, middle and last step, and after it."""
    from cifar_plugin.airbench.schedule import LinearDecay

    steps = 100 if step == 50 else 200
    assert float(LinearDecay(0.24, steps)(step)) == pytest.approx(rate, abs=1e-6)


def test_the_optimizer_can_be_recreated_from_its_config():
    """With all its settings."""
    import keras

    optimizer = Steps().optimizer
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    assert float(again.learning_rate) == pytest.approx(0.24)
