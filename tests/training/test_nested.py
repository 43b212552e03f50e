"""Several inputs and outputs, texts and weights go through whole runs."""

from __future__ import annotations

import pytest
from nested_plugins import PLUGINS, project

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def backend(training):
    return training.KerasBackend


@pytest.mark.gate(keep=3)
@pytest.mark.parametrize("name", PLUGINS)
def test_every_nesting_is_trained_evaluated_saved_and_measured_again(name, backend, tmp_path):
    """The mean loss of the examples is the registered loss; a second evaluation is identical."""
    import numpy as np

    from registry_core.evaluation.per_example_results import OUTCOMES_FILE, PerExampleResults

    made = project(tmp_path, name)
    version = made.run(backend=backend)
    results = PerExampleResults.from_json(made.store.read(version, OUTCOMES_FILE))
    losses = np.frombuffer(results.losses, "<f4")
    assert losses.mean() == pytest.approx(version.metrics["test_loss"], rel=1e-5)
