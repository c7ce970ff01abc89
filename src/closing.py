"""The end of a run, and of each of its members: blend what is finished, write the submission, check it."""

import time

import numpy as np

from src.ensemble.blend import mean_blend
from src.ensemble.predictions import Predictions
from src.errors import UserError
from src.run_state import Run, percent
from src.submit.check import check_submission
from src.submit.write import write_submission


def submit(run: Run) -> None:
    """Writes the submission of the best blend of the members that are finished, then run.json, which names them."""
    started = time.perf_counter()
    names, blended = best_blend(run)
    labels, form = blended.test.argmax(1), run.recipe.form
    run.room.write(lambda: write_submission(run.folder.submission, labels, run.data.example, form))
    run.record["ensemble"] = {"members": names} | run.quality(blended.valid_rows, blended.valid)
    run.save()
    run.closing.append(time.perf_counter() - started)


def best_blend(run: Run) -> tuple[list[str], Predictions]:
    """The mean of the first members, as many as validate best; of equals, the most. Names and probabilities.

    So the submission is replaced by one that validates better, or that has more members and validates no worse; and it
    depends on the members alone, not on where a run was interrupted.
    """
    names = [member.name for member in run.recipe.members if member.name in run.record["members"]]
    members = [run.predictions(name) for name in names]
    blends = [mean_blend(members[: n + 1]) for n in range(len(members))]
    accuracies = [run.quality(b.valid_rows, b.valid)["valid_accuracy"] for b in blends]
    best = max(range(len(blends)), key=lambda n: (accuracies[n], n))
    return names[: best + 1], blends[best]


def rehearse(run: Run) -> None:
    """Times blending, writing and checking with even probabilities, so that the reserve for it is measured."""
    started, rows = time.perf_counter(), len(run.data.test)
    path = run.folder.path / ".rehearsal.csv"
    even = np.full((rows, 7), 1 / 7, np.float32)
    header = {"member": "rehearsal", "data_digest": run.data.digest}
    blended = mean_blend([Predictions(header, np.arange(1), even[:1], even)] * len(run.recipe.members))
    try:
        write_submission(path, blended.test.argmax(1), run.data.example, run.recipe.form)
        check_submission(path, rows, run.data.example)
    finally:
        path.unlink(missing_ok=True)
    run.closing.append(time.perf_counter() - started)


def end(run: Run) -> None:
    """The last lines: what the blend reaches, and whether the submission is in order.

    Raises UserError where no member has finished: there is nothing to submit.
    """
    lost = run.record["missing"] | run.record["left_out"]
    if not run.record["members"]:
        reasons = [f"{name}: {reason}" for name, reason in lost.items()]
        more = f"; and {len(reasons) - 2} more" if len(reasons) > 2 else ""
        raise UserError(f"no member has finished, so there is no submission ({'; '.join(reasons[:2])}{more})")
    run.record |= {"status": "finished", "files": run.folder.digests()}
    run.save()
    used = run.record["ensemble"]["members"]
    run.log(f"mean of {', '.join(used)}: {percent(run.record['ensemble'])}")
    for name, reason in lost.items():
        run.log(f"warning: {name} is missing: {reason}")
    checked = check_submission(run.folder.submission, len(run.data.test), run.data.example)
    for warning in checked.warnings:
        run.log(f"warning: {warning}")
    run.log(f"{run.folder.submission}: {checked.rows:,} rows, checked; {run.record['seconds']:.0f} s in all")
