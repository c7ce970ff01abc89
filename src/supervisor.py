"""The light parent of a rank: it starts the real trainer, outlives its death, and says what became of it.

torchrun ends all ranks when one of its processes ends badly. So its processes are these: each waits for its trainer,
then for the other ranks, and all end together, with the run's own exit code.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from src import disk, ranks, shared_record
from src.errors import UserError
from src.files import replacing
from src.ranks import Board, Place

TRAINER = "FER_TRAINER"  # set in a trainer's environment
STARTED = "FER_STARTED"  # when the first process was started, in seconds since 1970
LAUNCHER = "FER_LAUNCHER"  # a folder in which the process that started torchrun finds pids and the exit code
SAME = 2.0  # seconds: two signals within are one, which came from the terminal and from torchrun
LAST_WAIT = 10.0  # seconds to wait for the other ranks after a signal; torchrun waits 30
PR_SET_PDEATHSIG = 1


def die_with_parent(number: int) -> Callable[[], None]:
    """What a new process is to call to get the signal when its parent dies, on Linux; elsewhere it does nothing."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return lambda: library and library.prctl(PR_SET_PDEATHSIG, number)


def own_command() -> list[str]:
    """How Python runs what runs here, the built script or a module; empty where it is no file, as in a notebook."""
    started = sys.modules["__main__"]
    if spec := getattr(started, "__spec__", None):
        return ["-m", spec.name.removesuffix(".__main__")]
    file = getattr(started, "__file__", None)
    return [str(Path(file).absolute())] if file else []


def supervise(place: Place, arguments: list[str], output: Path, started: float, end: Callable[[], int]) -> int:
    """Runs this rank's trainer, then waits for the other ranks; returns the run's exit code.

    arguments: of the command line. started: when this process was, for a run that nobody else has begun. end: blends
    and checks here what the ranks have left, where none is left to do so; its exit code.
    """
    die_with_parent(signal.SIGTERM)()
    command = [sys.executable, *own_command(), *arguments]
    more = {STARTED: os.environ.get(STARTED, str(started)), "OMP_NUM_THREADS": threads(place)}
    with Forwarding() as signals:
        signals.tell_launcher(place)
        code = signals.run(command, more | {TRAINER: "1"})
        try:
            board = Board(ranks.connect(), place)
            last = take_note(board, code, signals.number, output)
            if last:
                board.tell("code", end_of_run(board, code, end))
                clean(output)
            code = wait_for_code(board, signals)
        except (UserError, RuntimeError):  # torchrun itself has ended
            code = max(1, code)
    return signals.hand_over(code)


def threads(place: Place) -> str:
    """Threads of a rank: what the user has set for torchrun, else the machine's processors shared by its ranks.

    torchrun sets 1 where nothing is set; what it was started with itself stands in /proc.
    """
    asked = os.environ.get("OMP_NUM_THREADS")
    with contextlib.suppress(OSError):
        names = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
        if asked and any(name.startswith(b"OMP_NUM_THREADS=") for name in names):
            return asked
    return str(max(1, processors() // place.local_size))


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Forwarding:
    """While its block runs, signals to this process go on to the one that it has started; the first is kept."""

    def __init__(self):
        self.number, self.at, self.child, self.before = 0, 0.0, None, {}

    def __enter__(self) -> "Forwarding":
        names = [name for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
        heard = [getattr(signal, name) for name in names]
        heard = [number for number in heard if signal.getsignal(number) is not signal.SIG_IGN]
        self.before = {number: signal.signal(number, self.take) for number in heard}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def take(self, number: int, frame: object) -> None:
        """The handler."""
        if self.number and time.monotonic() - self.at < SAME:
            return
        self.number, self.at = self.number or number, time.monotonic()
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(number)

    def run(self, command: list[str], more: dict[str, str]) -> int:
        """Runs a command, which dies with this process, to its end; its exit code, negative for a signal.

        In a session of its own: what the terminal sends reaches it through this process alone.
        """
        if self.number:  # asked to stop before there was anything to stop
            return 128 + self.number
        die = die_with_parent(signal.SIGKILL)
        self.child = subprocess.Popen(command, env=os.environ | more, start_new_session=True, preexec_fn=die)
        if self.number and time.monotonic() - self.at < SAME:  # it came while this one was starting
            self.child.send_signal(self.number)
        return self.child.wait()

    def tell_launcher(self, place: Place) -> None:
        """Lets the process that started torchrun know to whom signals go."""
        if folder := os.environ.get(LAUNCHER):
            with replacing(Path(folder, f"pid.{place.rank}")) as temporary:
                temporary.write_text(str(os.getpid()))

    def hand_over(self, code: int) -> int:
        """Leaves the exit code to who started torchrun, which then sees an end in order; returns it if nobody did."""
        folder = os.environ.get(LAUNCHER)
        if not folder:
            return code
        with contextlib.suppress(OSError), replacing(Path(folder, f"code.{os.getpid()}")) as temporary:
            temporary.write_text(str(code))
        return 0


def take_note(board: Board, code: int, number: int, output: Path) -> bool:
    """Says of a trainer how it ended, where it has not said so itself; whether this rank is the last to end."""
    rank = board.place.rank
    if board.ended(rank) is not None:
        return board.told("last") == rank
    how = ending(rank, code, number)
    if how.get("why"):
        at = board.told(f"at/{rank}") or "prepared"
        say(output, f"[{rank}] warning: {how['why']} while it {at}")
    return board.arrive(how)


def ending(rank: int, code: int, number: int) -> dict:
    """How a trainer ended that did not come to its end: "stopped" by a signal to its run, or "why" it died.

    code: its exit code. number: the signal that this process was sent, or 0.
    """
    if number:
        return {"stopped": number}
    if code in (0, 2, ranks.FOLLOWED):  # 2: its user's error, which it has printed
        return {"code": code}
    return {"why": f"rank {rank} died (signal {-code})" if code < 0 else f"rank {rank} ended with exit code {code}"}


def end_of_run(board: Board, code: int, end: Callable[[], int]) -> int:
    """The run's exit code, found by the last rank; `end` blends and checks what the others have left.

    code: of this rank's trainer, which has done so already where it came last itself.
    """
    ends = [board.ended(rank) or {} for rank in range(board.place.size)]
    stopped = [how["stopped"] for how in ends if how.get("stopped")]
    if stopped:
        return 128 + max(stopped)
    if board.told("begun") is None:
        return 2 if ends[0].get("code") == 2 else 1
    if ends[board.place.rank]:
        code = caught(end)
    code = code if code >= 0 else 1
    return 1 if code in (0, 2) and board.deaths() else code


def caught(end: Callable[[], int]) -> int:
    """The exit code of `end`, also where it fails: the other ranks wait for it."""
    try:
        return end()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        return getattr(stopped, "code", 130)
    except Exception:
        traceback.print_exc()
        return 1


def wait_for_code(board: Board, signals: Forwarding) -> int:
    """The run's exit code, when all ranks have ended."""
    while (code := board.told("code")) is None:
        if signals.number and time.monotonic() - signals.at > LAST_WAIT:
            return 128 + signals.number
        time.sleep(ranks.POLL)
    return code


def say(output: Path, line: str) -> None:
    """A line to standard output and, where the run has begun one, to its log."""
    print(line, flush=True)
    with contextlib.suppress(OSError):
        if (output / "run.json").exists():
            with (output / "log.txt").open("ab", buffering=0) as log:
                log.write(f"{line}\n".encode())


def clean(output: Path) -> None:
    """Removes what stands in a run's folder only while ranks are at work in it."""
    disk.Room(output).give_back()
    with contextlib.suppress(OSError):
        (output / shared_record.NAME).unlink(missing_ok=True)
