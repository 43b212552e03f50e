"""The learning rate falls by a factor of ten every ten epochs."""

import pytest

from cifar_plugin.baseline.config import BaselineConfig
from cifar_plugin.baseline.schedule import decay


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 1e-3), (9, 1e-3), (10, 1e-4), (19, 1e-4), (20, 1e-5), (49, 1e-7)]
)
def test_baseline_divides_by_ten_every_ten_epochs(epoch, rate):
    """First, last before a turn, first after it, and last: the recipe's values."""
    assert decay(BaselineConfig())(epoch) == pytest.approx(rate, rel=1e-12)


def test_every_number_of_the_schedule_can_be_set():
    """Start, factor and interval come from the configuration."""
    schedule = decay(BaselineConfig(learning_rate=0.8, decay_factor=0.5, decay_epochs=3))
    assert [schedule(epoch) for epoch in range(7)] == [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2]


def test_learning_rates_are_plain_floats():
    """What is logged and stored as JSON is a Python number."""
    assert type(decay(BaselineConfig())(0)) is float
