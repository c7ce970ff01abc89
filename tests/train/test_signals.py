"""The first signal waits until it is checked, the second one ends the process."""

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from src.train.signals import SIGNALS, Stopped, StopSignals
from tests.conftest import ROOT


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_signal_waits_for_the_check_and_names_the_exit_code(number, code, capsys):
    with StopSignals() as signals:
        signals.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped, match=signal.Signals(number).name) as stopped:
            signals.check()
    assert stopped.value.code == code and "once more ends at once" in capsys.readouterr().err


@pytest.fixture
def hears_hangup():
    """SIGHUP is not ignored, as it is in tests that nohup started."""
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "the terminal was closed"), BrokenPipeError(), ValueError()])
def test_a_terminal_that_was_closed_does_not_stop_the_handler(error, monkeypatch, hears_hangup):
    class Gone:
        def write(self, text):
            raise error

    monkeypatch.setattr(sys, "stderr", Gone())
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(Stopped) as stopped:
            signals.check()
    assert stopped.value.code == 129


def test_the_handlers_of_before_come_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopSignals():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGTERM"), ("SIGTERM", "SIGINT")])
def test_the_second_signal_ends_the_process_at_once_with_its_code(first, second):
    code = "import os, signal; from src.train.signals import StopSignals\nwith StopSignals():\n"
    code += "".join(f"    os.kill(os.getpid(), signal.{name})\n" for name in (first, second)) + "    print('alive')\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 128 + getattr(signal, second) and "alive" not in done.stdout


def test_another_thread_changes_no_handler():
    faults = []

    def work() -> None:
        try:
            with StopSignals() as signals:
                signals.check()
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert faults == []
