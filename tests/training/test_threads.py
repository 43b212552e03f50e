"""TensorFlow's threads: what is asked of them before they start, and what is left alone."""

import pytest

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def context(tf, monkeypatch):
    """TensorFlow's context as it is before its first operation."""
    from tensorflow.python.eager import context as module

    fresh = module.Context()
    monkeypatch.setattr(module, "context", lambda: fresh)
    return fresh


def test_the_threads_of_a_run_do_not_spin(tf):
    """The configuration reaches the runtime, which is started by the first operation."""
    from tensorflow.python.eager import context

    from registry_core.training.threads import spins

    assert int(tf.constant(1) + 1) == 2
    assert not spins()
    assert context.context().config.experimental.disable_thread_spinning


def test_what_another_program_set_or_started_is_left_alone(tf, context):
    """A notebook may have used TensorFlow before."""
    from tensorflow.core.protobuf import config_pb2

    from registry_core.training.threads import spins, wait_without_spinning

    context._config = config_pb2.ConfigProto()
    assert not wait_without_spinning()
    context._config = None
    context._initialized = True
    assert not wait_without_spinning()
    assert spins()
    context._initialized = False
    assert wait_without_spinning()
    assert not spins()


def test_a_tensorflow_without_the_option_trains_as_before(tf, context, monkeypatch):
    """The option is set through a name that is not public."""
    from registry_core.training import threads

    monkeypatch.setattr(threads.context, "context", lambda: object())
    assert not threads.wait_without_spinning()
