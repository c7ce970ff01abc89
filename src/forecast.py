"""What a run would cost, without running it: the plan alone, and nothing is left on the disk."""

import time
from pathlib import Path

from src.config import Recipe
from src.data import competition
from src.data.batches import on_device
from src.preflight import preflight
from src.train import device as devices
from src.train import plan
from src.train import precision as precisions
from src.train.deadline import Deadline, allot


def forecast(recipe: Recipe, source: Path, device: str = "auto") -> list[str]:
    """The plan's lines: each member's seconds from a warm-up on the files below `source`, and their sum.

    Raises UserError for what would stop the run before its first epoch, and for a member that does not fit into memory.
    """
    where, _ = devices.choose(device)
    data = competition.read_competition(source)
    numbers, starts = preflight(recipe, data, where, source)
    rows = [on_device(data.train.images, data.train.labels, where, part) for part in numbers]
    costs = [
        plan.measure(m, *rows, len(data.test), precisions.choose(m.precision, where), starts[m.name].file)
        for m in recipe.members
    ]
    left, name = Deadline(recipe.time_budget_hours, time.time()).left(), devices.describe(str(where))
    epochs = allot(costs, [member.epochs for member in recipe.members], left)
    return plan.table(list(recipe.members), costs, epochs, left, name)
