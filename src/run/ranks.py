"""Several GPUs: torchrun starts one rank a GPU, and each rank takes the next member from a counter in torchrun's store.

A member is trained by one rank. When a rank dies, torchrun starts all of them again, and they continue from
the checkpoints. After too many restarts the process that started torchrun blends the finished members.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from src.errors import UserError

MAX_RESTARTS = 3  # how often torchrun starts the ranks again
STARTED = "FER_STARTED"  # environment: when the launcher was started, in seconds since 1970
EXIT_CODE = "FER_EXIT_CODE"  # environment: the file in which the launcher finds the run's exit code
POLL = 0.1  # seconds
PR_SET_PDEATHSIG = 1
# python -m torch.distributed.run, without its traceback where a signal ended it
TORCHRUN = """
import sys
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.run import main
try:
    main()
except SignalException as signalled:
    sys.exit(128 + signalled.sigval)
"""
INTERRUPTED = "\ninterrupted; finished members are kept; run the same command again to continue"


@dataclass(frozen=True)
class Process:
    """The process that does a whole run, or one of `world_size`; local_rank: its number on this machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    prefix = ""  # of its lines in the log

    def take(self, count: int) -> Iterable[int]:
        """The numbers, of `count` members, of those that this process trains."""
        return range(count)

    def is_last(self) -> bool:
        """Whether this process, at the end of its work, is the last one."""
        return True

    def tell(self, shared: object) -> None:
        """Tells the other processes that the run is prepared; None: that it cannot be."""


@dataclass(frozen=True)
class Rank(Process):
    """A process that torchrun has started, which meets the others in torchrun's store."""

    store: object = None

    prefix = property(lambda self: f"[{self.rank}] ")

    def take(self, count: int) -> Iterable[int]:
        """The next number below `count` that no other rank has taken, as long as there is one."""
        while (number := self.store.add("members", 1) - 1) < count:
            yield number

    def is_last(self) -> bool:
        return self.store.add("ended", 1) == self.world_size

    def tell(self, shared: object) -> None:
        self.store.set("prepared", json.dumps(shared, default=asdict))

    def hear(self, signals) -> dict | None:
        """Waits for what the first rank tells."""
        while not self.store.check(["prepared"]):
            signals.check()
            time.sleep(POLL)
        return json.loads(self.store.get("prepared"))


# ---------------------------------------------------------------------------------------------- a rank


def number_of_rank(environment=os.environ) -> int | None:
    """Which of several ranks this process is; None where torchrun did not start it, or started it alone."""
    started = environment.get("TORCHELASTIC_RUN_ID") and int(environment.get("WORLD_SIZE", 1)) > 1
    return int(environment["RANK"]) if started else None


def launched() -> bool:
    """Whether `launch` has started this rank, and has already printed the settings of the command line."""
    return EXIT_CODE in os.environ


def connect(environment=os.environ) -> Rank:
    """This rank, connected to torchrun's store; its keys are those of the present restart."""
    from torch.distributed import PrefixStore, TCPStore

    host, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    prefix = f"fer2013/{environment['TORCHELASTIC_RUN_ID']}/{restarts(environment)}"
    store = PrefixStore(prefix, TCPStore(host, port, is_master=False))
    return Rank(*(int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")), store)


def restarts(environment=os.environ) -> int:
    """How often torchrun has started the ranks again."""
    return int(environment.get("TORCHELASTIC_RESTART_COUNT", 0))


def run_rank(action: Callable[[Rank], int | None]) -> int:
    """Does this rank's part of a run and returns its exit code. action: takes the rank; the run's exit code, if last.

    torchrun restarts the ranks when one ends with another code than 0. An exit code that a restart would not change
    goes to the launcher in a file instead.
    """
    die_with_parent()
    sys.excepthook = write_traceback
    try:
        code = action(connect())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    if code is None or not launched():
        return code or 0
    Path(os.environ[EXIT_CODE]).write_text(str(code))
    return 0


def write_traceback(*error) -> None:
    """The hook for an exception that nobody catches: names the rank in each line, as torch does, and writes at once."""
    lines = "".join(traceback.format_exception(*error)).splitlines(keepends=True)
    sys.stderr.write("".join(f"[rank{number_of_rank()}]: {line}" for line in lines))


def die_with_parent() -> None:
    """Lets this process get SIGTERM when its parent dies, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


# ------------------------------------------------------------------------------------------ the launcher


def gpus(environment=os.environ, devices: Path = Path("/dev")) -> int:
    """The GPUs that this process may see, without torch, which takes seconds to import."""
    present = sum(file.name.removeprefix("nvidia").isdigit() for file in devices.glob("nvidia*"))
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    return present if visible is None else min(present, sum(bool(one.strip()) for one in visible.split(",")))


def this_command() -> list[str]:
    """How Python runs what runs here, the built script or a module; empty where it is no file, as in a notebook."""
    started = sys.modules["__main__"]
    if spec := getattr(started, "__spec__", None):
        return ["--module", "--", spec.name.removesuffix(".__main__")]
    file = getattr(started, "__file__", None)
    return ["--", str(Path(file).absolute())] if file else []


def launch(nproc: int, arguments: list[str], started: float, finish_lost_run: Callable[[], object]) -> int:
    """Runs this command on `nproc` ranks of this machine, by torchrun; returns the run's exit code.

    started: when this process was, in seconds since 1970. finish_lost_run: called where torchrun gave up.
    """
    with tempfile.TemporaryDirectory(prefix="fer2013-ranks-") as folder:
        file = Path(folder, "exit_code")
        share = max(1, len(os.sched_getaffinity(0)) // nproc) if hasattr(os, "sched_getaffinity") else 1
        more = {STARTED: str(started), EXIT_CODE: str(file)}
        environment = {"OMP_NUM_THREADS": str(share)} | dict(os.environ) | more
        # The address is a number: a kernel without network may not know its own name. The `--` of this_command keeps
        # torchrun from reading this command's options.
        command = [sys.executable, "-c", TORCHRUN, "--standalone", "--local-addr", "127.0.0.1"]
        command += ["--nproc-per-node", str(nproc), "--max-restarts", str(MAX_RESTARTS)]
        code, number = run_until_signalled([*command, *this_command(), *arguments], environment)
        if number:
            print(INTERRUPTED, file=sys.stderr)
            return 128 + number
        if file.exists():
            return int(file.read_text())
    print(f"torchrun ended with exit code {code}; blending the finished members", file=sys.stderr, flush=True)
    try:
        finish_lost_run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


def run_until_signalled(command: list[str], environment: dict[str, str]) -> tuple[int, int]:
    """Runs torchrun to its end; its exit code, and the first signal that came meanwhile, or 0.

    That one ends torchrun and its ranks in order. A second one kills torchrun: its ranks then get their second signal,
    which ends them at once.
    """
    first, child = 0, None

    def take(number: int, frame: object) -> None:
        nonlocal first
        again, first = bool(first), first or number
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGKILL if again else signal.SIGTERM)

    heard = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
    heard = [number for number in heard if signal.getsignal(number) is not signal.SIG_IGN]  # nohup's SIGHUP
    before = {number: signal.signal(number, take) for number in heard}
    try:
        # In a session of its own: a terminal's Ctrl-C comes through `take` alone.
        child = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=die_with_parent)
        if first:  # it came while torchrun was starting
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)
        return child.wait(), first
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
