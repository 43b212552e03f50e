"""How often Python looks for garbage, while a command starts and afterwards."""

import gc

import pytest

from registry_core.process.garbage import (
    collect_as_before,
    collect_seldom,
    while_importing,
)


def test_training_looks_as_often_as_before():
    before = gc.get_threshold()
    collect_seldom()
    collect_seldom()
    assert gc.get_threshold()[0] > 10 * before[0]
    collect_as_before()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count()  # what was imported is left out
    gc.unfreeze()
    gc.set_threshold(before[0] + 1)
    try:
        collect_as_before()  # what a user has set since stays
        assert gc.get_threshold()[0] == before[0] + 1
        assert not gc.get_freeze_count()
    finally:
        gc.set_threshold(*before)


@pytest.mark.parametrize("enabled", [True, False])
def test_an_import_that_fails_leaves_the_collector_as_it_was(enabled):
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ImportError), while_importing():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
