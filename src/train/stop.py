"""Signals: a first SIGTERM, SIGINT or SIGHUP asks the run to end in order, a second one ends it at once."""

import os
import signal
import sys
import threading
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Stopped(KeyboardInterrupt):
    """The run was asked to stop. The process ends with 128 + signal, as the shell has it: 143, or 130."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


class Stop:
    """While its block runs, the first signal is kept for `check`, so that no step is torn.

    Only the main thread can take signals; in another one the block changes nothing.
    """

    def __init__(self):
        self.number, self.before = 0, {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup's SIGHUP
            self.before = {number: signal.signal(number, self.take) for number in heard}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # none: it was not set from Python

    def take(self, number: int, frame: FrameType | None) -> None:
        """The handler of both signals."""
        if self.number:
            os._exit(128 + number)
        self.number = number
        print(f"\n{signal.Signals(number).name}: ends after this step; once more ends at once", file=sys.stderr)

    def check(self) -> None:
        """Raise Stopped if a signal has come; to be called where the run can be left."""
        if self.number:
            raise Stopped(self.number)
