"""What the tests of training share."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def one_step_a_call(training):
    """Without the loop that does several steps: half a second less to trace for each fit.

    Where steps in one call are what is tested, a test sets it otherwise.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("registry_core.training.callback_batching.EXAMPLES_PER_CALL", 1)
        yield
