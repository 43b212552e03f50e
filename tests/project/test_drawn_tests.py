"""A default run has a quarter of the slow tests; with four seeds in a row each was tried once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest


@pytest.fixture
def conftest(pytestconfig):
    file = str(Path(__file__).parents[1] / "conftest.py")
    return pytestconfig.pluginmanager.get_plugin(file)


def test_four_seeds_in_a_row_try_every_slow_test_once(conftest, request, monkeypatch):
    items = request.session.items
    tried = Counter()
    for seed in range(628, 632):
        monkeypatch.setenv("MLREG_POINTS_SEED", str(seed))
        tried.update(set(items) - conftest._not_drawn(items))
    is_slow = dict.fromkeys(items, False)
    for item in items:
        marked = {mark.name for mark in item.iter_markers()}
        is_slow[item] = bool(marked & {"tensorflow", "processes", "drawn"}) and "core" not in marked
    assert {item: tried[item] for item in items} == {i: 1 if is_slow[i] else 4 for i in items}


def test_the_processes_of_a_run_draw_the_same_tests(conftest, request):
    """Each collects in an order of its own."""
    items = request.session.items
    assert conftest._not_drawn(items) == conftest._not_drawn(items[::-1])
