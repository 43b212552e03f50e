"""What a signal does to a run: the real signals, sent to this process."""

import os
import signal
import subprocess
import sys

import pytest

from registry_core.errors import Interrupted
from registry_core.process import guard as plugin_guard
from registry_core.process.interrupts import STOPPING, stop_on_signals

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(autouse=True)
def heard():
    """Whoever started the tests may have had a signal ignored, as nohup and `&` do."""
    before = {signum: signal.signal(signum, signal.SIG_DFL) for signum in STATUS}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


def test_three_signals_stop_a_run():
    """Ctrl-C, SIGTERM, and a terminal that closes."""
    assert set(STOPPING) == set(STATUS)


@pytest.mark.parametrize("signum", STATUS)
def test_outside_training_a_signal_stops_at_once(signum):
    """The exit status names the signal."""
    reached = []
    with stop_on_signals(), pytest.raises(Interrupted) as caught:
        send(signum)
        reached.append("what comes after")
    assert not reached
    assert caught.value.signum == signum
    assert caught.value.exit_status == STATUS[signum]
    assert str(caught.value) == signal.Signals(signum).name


def test_the_end_of_a_server_with_handlers_of_its_own_is_no_warning():
    """The terminal that closed may not take one, and nobody has to act."""
    warned = []
    with plugin_guard.warnings_to(warned.append), stop_on_signals() as stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(Interrupted) as caught:
            send(signal.SIGHUP)
        assert signal.getsignal(signal.SIGINT) == stop.receive
    assert caught.value.exit_status == STATUS[signal.SIGHUP]
    assert warned == []


@pytest.mark.parametrize("signum", STATUS)
def test_in_training_the_first_signal_is_deferred(signum):
    """It is raised when training ends, even if nothing checked in between."""
    reached = []
    with stop_on_signals() as stop:
        with pytest.raises(Interrupted) as caught, stop.defer_interrupts():
            assert stop.signum is None
            send(signum)
            assert stop.signum == signum
            reached.append("the batch's end")
        assert caught.value.exit_status == STATUS[signum]
    assert reached


def test_in_training_the_second_signal_stops_at_once():
    """A second Ctrl-C does not wait for the batch."""
    reached = []
    with stop_on_signals() as stop, pytest.raises(Interrupted) as caught, stop.defer_interrupts():
        send(signal.SIGINT)
        send(signal.SIGTERM)
        reached.append("what comes after")
    assert not reached
    assert caught.value.signum == signal.SIGTERM


def test_after_training_a_signal_stops_at_once():
    """Signals are deferred only inside the block."""
    with stop_on_signals() as stop:
        with stop.defer_interrupts():
            pass
        with pytest.raises(Interrupted):
            send(signal.SIGTERM)


def test_an_error_in_training_is_not_replaced():
    """An error after a deferred signal is reported as itself."""
    with stop_on_signals() as stop, pytest.raises(ZeroDivisionError), stop.defer_interrupts():
        send(signal.SIGINT)
        raise ZeroDivisionError


def test_handlers_are_restored():
    """After the block every signal has its previous handler."""
    before = [signal.getsignal(signum) for signum in STOPPING]
    with pytest.raises(ValueError, match="ours"), stop_on_signals():
        assert [signal.getsignal(signum) for signum in STOPPING] != before
        raise ValueError("ours")
    assert [signal.getsignal(signum) for signum in STOPPING] == before


def test_nohup_is_respected():
    """A signal that was ignored before stays ignored."""
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from registry_core.process.interrupts import stop_on_signals\n"
        "with stop_on_signals() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    assert stop.signum is None\n"
        "assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_plugins_except_cannot_swallow_an_interrupt():
    """Interrupted is not an Exception."""
    assert not issubclass(Interrupted, Exception)
