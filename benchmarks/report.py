"""Seconds and size of a run's report, with made-up results of several members on real or synthetic faces.

    python benchmarks/report.py --input DIR            ten members, 60 epochs, every fifth training row for validation

Exit code 1 above 60 s or 8 MB. Without --input the faces are synthetic: 28,709 to train on and 7,178 to predict.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from src.data import synthetic
from src.data.competition import read_competition
from src.report.run_report import report_run
from tests.support.made_up_runs import write_made_up_run

MOST_SECONDS, MOST_BYTES = 60, 8_000_000


def measure(source: Path, members: int, epochs: int) -> dict:
    """Writes a run with so many members and its report; returns what that took."""
    data = read_competition(source)
    with tempfile.TemporaryDirectory() as folder:
        names = [f"member_{number:02d}" for number in range(members)]
        run = write_made_up_run(Path(folder) / "run", data, names, epochs)
        started, processor = time.perf_counter(), time.process_time()
        faults = report_run(run, data)
        seconds = time.perf_counter() - started
        return {
            "members": members,
            "seconds": round(seconds, 1),
            "processor_seconds": round(time.process_time() - processor, 1),
            "page_bytes": (run / "report.html").stat().st_size,
            "figures_bytes": sum(file.stat().st_size for file in (run / "figures").iterdir()),
            "faults": faults,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, help="the competition's files; default: synthetic faces")
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.input is None:
            synthetic.write_files(Path(folder), train=28_709, test=7_178)
        found = measure(options.input or Path(folder), options.members, options.epochs)
    print(json.dumps(found, indent=1))
    return int(found["seconds"] > MOST_SECONDS or found["page_bytes"] > MOST_BYTES or bool(found["faults"]))


if __name__ == "__main__":
    sys.exit(main())
