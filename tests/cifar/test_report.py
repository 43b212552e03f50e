"""A CIFAR-10 run writes four figures with fixed names: the host's standard report."""

import numpy as np
import pytest

from cifar_plugin import plugin
from cifar_plugin.presets import PRESETS
from mlreg import Evaluation, History, RunResult
from registry_core.evaluation.figures import standard_figures

CLASS_NAMES = ["airplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def finished(**metrics):
    random = np.random.default_rng(0)
    outputs = random.normal(size=(50, 10)).astype(np.float32)
    evaluation = Evaluation({}, outputs, np.ones(50, np.float32), random.integers(0, 10, (50, 1)))
    history = History(metrics, [1.0] * 3)
    return RunResult(
        "cifar10", "cifar10", "quick", PRESETS["quick"], history, {}, evaluation, CLASS_NAMES
    )


@pytest.mark.gate
def test_a_run_writes_its_four_figures(tmp_path):
    """Their names are fixed, so that a page or a script can point to them."""
    assert not hasattr(plugin, "mlreg_report")  # it would replace the host's report
    result = finished(
        accuracy=[0.3, 0.4, 0.5],
        loss=[2.0, 1.7, 1.5],
        val_accuracy=[0.35, 0.45, 0.5],
        val_loss=[1.9, 1.6, 1.4],
        learning_rate=[0.001] * 3,
    )
    expected = ["accuracy.png", "confusion_matrix.png", "learning_rate.png", "loss.png"]
    assert sorted(path.name for path in standard_figures(result, tmp_path)) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == expected


@pytest.mark.gate
def test_what_was_not_measured_is_not_drawn(tmp_path):
    """A history without learning rates has no figure of them, and that is no error."""
    names = [path.name for path in standard_figures(finished(loss=[2.0, 1.7, 1.5]), tmp_path)]
    assert names == ["loss.png", "confusion_matrix.png"]
