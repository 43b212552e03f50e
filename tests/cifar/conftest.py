"""What the tests of the CIFAR-10 plugin share."""

import pytest
from durable_calls import calls

__all__ = ["calls", "one_step_a_call"]


@pytest.fixture
def one_step_a_call(monkeypatch, training):
    """Without XLA, whose compilation would take most of the time."""
    from cifar_plugin.airbench import passes

    for name, value in list(vars(passes).items()):
        if hasattr(value, "python_function"):
            monkeypatch.setattr(passes, name, value.python_function)
    monkeypatch.setattr("registry_core.training.callback_batching.EXAMPLES_PER_CALL", 16)
