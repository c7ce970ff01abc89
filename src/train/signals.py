"""Signals: the first SIGTERM, SIGINT or SIGHUP asks the run to end after its step, the second ends it at once."""

import contextlib
import os
import signal
import sys
import threading
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Stopped(KeyboardInterrupt):
    """A signal asked the run to stop. The process ends with exit code 128 + signal: 143, 130 or 129."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


class StopSignals:
    """A context that keeps the first signal until `check`, so that no step is interrupted.

    Only the main thread can handle signals; in another thread the context changes nothing.
    """

    def __init__(self):
        self.received, self.previous = 0, {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            # nohup ignores SIGHUP, and that stays so
            handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self.previous = {number: signal.signal(number, self.handle) for number in handled}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: the handler was not set from Python

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.received:
            os._exit(128 + number)
        self.received = number
        with contextlib.suppress(OSError, RuntimeError, ValueError):  # the terminal may have gone, or be in use
            print(f"\n{signal.Signals(number).name}: ends after this step; once more ends at once", file=sys.stderr)

    def check(self) -> None:
        """Raises Stopped if a signal was received. Call it where the run can be left."""
        if self.received:
            raise Stopped(self.received)
