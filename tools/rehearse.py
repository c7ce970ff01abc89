"""Runs the built script as a kernel would, and checks what it leaves: the last step before a push.

    python -m tools.rehearse                                           synthetic faces, a minute
    python -m tools.rehearse --recipe NAME --input DIR --hours 0.05     another recipe, on the real files

The script lies alone in a read-only folder. The input is read-only too, and mounted in each of the two ways that
kernels have had. There is no network where this system can take it away, 13 GB of address space, a short deadline, and
nothing in the environment but what a kernel has.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from src.terminal import run_command

ROOT = Path(__file__).resolve().parent.parent
SLUG = "challenges-in-representation-learning-facial-expression-recognition-challenge"
LAYOUTS = {"new": f"competitions/{SLUG}", "old": SLUG}
FILES = ("train.csv", "test.csv", "icml_face_data.csv", "example_submission.csv")
MEMORY = 13 * 2**30
OUTPUT_LIMIT = 19 * 2**30  # of the 20 GB that a kernel's output may have
GRACE_SECONDS = 60  # past the deadline, for starting Python on a busy machine

LIMITED = (
    "import resource, sys, os; resource.setrlimit(resource.RLIMIT_AS, ({0}, {0})); os.execv(sys.argv[1], sys.argv[1:])"
)


class RehearsalError(Exception):
    """A kernel run did not leave what it must."""


def build_script(script: Path, recipe: str, settings: list[str], hours: float) -> None:
    """The script with its recipe and budget built in, alone in its folder."""
    command = [sys.executable, "build.py", "--recipe", recipe, "--output", str(script)]
    answer = subprocess.run(
        [*command, "--set", *settings, f"time_budget_hours={hours:g}"], cwd=ROOT, capture_output=True, text=True
    )
    if answer.returncode:
        raise RehearsalError(f"build.py: {answer.stderr.strip()}")


def make_read_only(folder: Path) -> None:
    """Takes the right to write from a folder and everything in it."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():  # the user's own files
            path.chmod(0o555 if path.is_dir() else 0o444)


def make_writable(folder: Path) -> None:
    """Gives the right to write back, so that the folder can be deleted."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)


def without_network() -> list[str]:
    """The words before a command that take its network away; empty where the system does not allow it."""
    prefix = ["unshare", "--map-root-user", "--net"]
    try:
        return prefix if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0 else []
    except FileNotFoundError:
        return []


def environment(top: Path) -> dict[str, str]:
    """A kernel's, with this machine's folders in place of /kaggle."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LD_LIBRARY_PATH", "OMP_NUM_THREADS") if key in os.environ}
    places = {"FER_INPUT": str(top / "input"), "FER_OUTPUT": str(top / "working"), "TMPDIR": str(top / "tmp")}
    return kept | places | {"KAGGLE_KERNEL_RUN_TYPE": "Batch", "PYTHONUNBUFFERED": "1"}


def run(top: Path) -> tuple[int, float]:
    """The script as the kernel starts it, its lines in top/log.txt; exit code and seconds."""
    for name in ("working", "tmp"):
        (top / name).mkdir()
    limited = [sys.executable, "-c", LIMITED.format(MEMORY), sys.executable, str(top / "src" / "script.py")]
    started = time.monotonic()
    with (top / "log.txt").open("w") as log:
        done = subprocess.run(
            [*without_network(), *limited], cwd=top / "working", env=environment(top), stdout=log, stderr=log
        )
    return done.returncode, time.monotonic() - started


def check_run(top: Path, code: int, seconds: float, hours: float) -> str:
    """One line about what is there; raises RehearsalError where it is not what a kernel must leave."""
    working = top / "working"
    if code:
        raise RehearsalError(f"exit code {code}; the end of its log:\n{(top / 'log.txt').read_text()[-2000:]}")
    if seconds > 3600 * hours + GRACE_SECONDS:
        raise RehearsalError(f"it took {seconds:.0f} s, and its budget was {3600 * hours:.0f} s")
    record = json.loads((working / "run.json").read_text())
    wanted = ["submission.csv", "log.txt"]
    wanted += [f"predictions/{name}.npz" for name in record["members"]]
    wanted += [f"members/{name}/{file}" for name in record["members"] for file in ("history.csv", "model.safetensors")]
    missing = [name for name in wanted if not (working / name).is_file()]
    files = [file for file in working.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    left = [file.name for file in files if file.name.startswith((".", "checkpoint")) or file.suffix == ".partial"]
    for problem, found in (("missing", missing), ("left over", left), ("too large", [size] * (size > OUTPUT_LIMIT))):
        if found:
            raise RehearsalError(f"{problem}: {', '.join(map(str, found))}")
    if [path.name for path in (top / "src").iterdir()] != ["script.py"]:
        raise RehearsalError("something was written beside the script")
    command = [sys.executable, "-m", "src", "check", str(working / "submission.csv"), "--input", str(top / "input")]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if checked.returncode:
        raise RehearsalError(f"submission.csv: {checked.stderr.strip()}")
    return f"{seconds:.0f} s, {len(files)} files, {size / 2**20:.1f} MiB, members {', '.join(record['members'])}"


def link_files(source: Path, place: Path) -> None:
    """Links to the competition's files below `place`; raises RehearsalError where the source has none of them."""
    found = [source / name for name in FILES if (source / name).exists()]
    if not found:
        raise RehearsalError(f"--input {source}: none of {', '.join(FILES)} is directly in it")
    for file in found:
        (place / file.name).symlink_to(file.resolve())


def rehearse(layout: str, source: Path | None, recipe: str, settings: list[str], hours: float) -> str:
    """One whole rehearsal in a temporary folder; its line."""
    top = Path(tempfile.mkdtemp(prefix="rehearsal-"))
    place = top / "input" / LAYOUTS[layout]
    try:
        build_script(top / "src" / "script.py", recipe, settings, hours)
        if source is None:
            place.parent.mkdir(parents=True)
            code = f"from src.data import synthetic; synthetic.write_files({str(place)!r})"
            subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
        else:
            place.mkdir(parents=True)
            link_files(source, place)
        make_read_only(top / "src")
        make_read_only(top / "input")
        return check_run(top, *run(top), hours)
    finally:
        make_writable(top)
        shutil.rmtree(top)


def main(argv: list[str]) -> int:
    """The command line; exit code 0, or 1 where the kernel would not leave what it must."""
    parser = argparse.ArgumentParser(prog="python -m tools.rehearse", description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument("--input", type=Path, metavar="DIR", help="has the real files; default: synthetic faces")
    parser.add_argument("--hours", type=float, default=0.05)
    arguments = parser.parse_args(argv)
    settings = arguments.set or (["epochs=2"] if arguments.recipe == "quick" else [])
    print("network:", "none" if without_network() else "this system cannot take it away")
    try:
        for layout in LAYOUTS:
            line = rehearse(layout, arguments.input, arguments.recipe, settings, arguments.hours)
            print(f"input/{LAYOUTS[layout]}: {line}")
    except RehearsalError as problem:
        print(f"rehearsal failed: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
