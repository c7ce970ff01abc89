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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from src.errors import UserError

MAX_RESTARTS = "FER_MAX_RESTARTS"  # environment: how often torchrun starts the ranks again; 3 without it
STARTED = "FER_STARTED"  # environment: when the launcher was started, in seconds since 1970
EXIT_CODE = "FER_EXIT_CODE"  # environment: the file in which the launcher finds the run's exit code
POLL = 0.1  # seconds
PR_SET_PDEATHSIG = 1
INTERRUPTED = "\ninterrupted; finished members are kept; run the same command again to continue"


@dataclass(frozen=True)
class Rank:
    """One of the `size` processes that torchrun has started; local: its number on this machine."""

    number: int
    size: int
    local: int
    store: object

    @property
    def prefix(self) -> str:
        """What its lines in the log begin with."""
        return f"[{self.number}] "

    def take(self, count: int) -> Iterator[int]:
        """The next number below `count` that no other rank has taken, as long as there is one."""
        while (number := self.store.add("members", 1) - 1) < count:
            yield number

    def is_last(self) -> bool:
        """Whether all other ranks have ended before this one."""
        return self.store.add("ended", 1) == self.size

    def tell(self, shared) -> None:
        """Tells the other ranks that the run is prepared; None: that it cannot be."""
        self.store.set("prepared", json.dumps(shared and asdict(shared)))

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


def launched(environment=os.environ) -> bool:
    """Whether `launch` has started this rank, and has already said what there is to say of the command line."""
    return EXIT_CODE in environment


def connect(environment=os.environ) -> Rank:
    """This rank, connected to torchrun's store; its keys are those of the present restart."""
    from torch.distributed import PrefixStore, TCPStore

    host, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    start = f"fer2013/{environment['TORCHELASTIC_RUN_ID']}/{restarts(environment)}"
    store = PrefixStore(start, TCPStore(host, port, is_master=False))
    return Rank(*(int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")), store)


def restarts(environment=os.environ) -> int:
    """How often torchrun has started the ranks again."""
    return int(environment.get("TORCHELASTIC_RESTART_COUNT", 0))


def run_rank(action: Callable[[Rank], int | None]) -> int:
    """Does this rank's part of a run and returns its exit code. action: takes the rank; the run's exit code, if last.

    torchrun starts the ranks again when one ends with another code than 0. An end that another start would not change
    goes to the launcher in a file instead.
    """
    die_with_parent(signal.SIGTERM)
    try:
        code = action(connect())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    if code is None or not launched():
        return code or 0
    Path(os.environ[EXIT_CODE]).write_text(str(code))
    return 0


def die_with_parent(number: int) -> None:
    """Lets this process get the signal when its parent dies, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


# ------------------------------------------------------------------------------------------ the launcher


def gpus(environment=os.environ, devices: Path = Path("/dev")) -> int:
    """The GPUs that this process may see, without torch, which takes seconds to import."""
    present = sum(file.name.removeprefix("nvidia").isdigit() for file in devices.glob("nvidia*"))
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    return present if visible is None else min(present, sum(bool(one.strip()) for one in visible.split(",")))


def own_command() -> list[str]:
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
        with SignalForwarder() as signals:
            code = signals.run(torchrun(nproc, arguments), environment)
        if signals.number:
            print(INTERRUPTED, file=sys.stderr)
            return 128 + signals.number
        if file.exists():
            return int(file.read_text())
    print(f"torchrun ended with exit code {code}; blending the finished members", file=sys.stderr, flush=True)
    try:
        finish_lost_run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


def torchrun(nproc: int, arguments: list[str]) -> list[str]:
    """The command line, in which `--` keeps torchrun from reading this command's own options.

    The address is a number: a kernel without network may not know its own name.
    """
    options = {"nproc-per-node": nproc, "max-restarts": os.environ.get(MAX_RESTARTS, 3), "local-addr": "127.0.0.1"}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", *words, *own_command(), *arguments]


class SignalForwarder:
    """While its block runs, a first signal ends torchrun and its ranks in order, and a second one at once.

    number: the first signal that came, or 0.
    """

    def __init__(self):
        self.number, self.child, self.before = 0, None, {}

    def __enter__(self) -> "SignalForwarder":
        heard = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
        heard = [number for number in heard if signal.getsignal(number) is not signal.SIG_IGN]  # nohup's SIGHUP
        self.before = {number: signal.signal(number, self.take) for number in heard}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def take(self, number: int, frame: object) -> None:
        """The handler. When torchrun dies, its ranks get a second signal, which ends them at once."""
        again, self.number = bool(self.number), self.number or number
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL if again else signal.SIGTERM)

    def run(self, command: list[str], environment: dict[str, str]) -> int:
        """Runs a command to its end; its exit code. In a session of its own: a terminal's Ctrl-C comes through here."""
        self.child = subprocess.Popen(
            command,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(signal.SIGTERM),
        )
        if self.number:  # it came while this one was starting
            with contextlib.suppress(ProcessLookupError):
                self.child.send_signal(signal.SIGTERM)
        return self.child.wait()
