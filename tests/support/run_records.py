"""A run.json as the tests of its readers need it."""

from src import config, recipes
from src.run.record import Code, EnsembleResult, MemberEstimate, MemberResult, Progress, RowCounts, RunRecord

RESULT = MemberResult(0.5, 0.4, 0.6, best_epoch=1, epochs=2, images_per_second=99.0)
RECORD = RunRecord(
    status="finished",
    code=Code("0" * 16, "abc1234", False),
    recipe=config.as_dict(recipes.get("quick")),
    config_hash="r",
    data_digest="d",
    rows=RowCounts(8, 2, 3),
    device="cpu (2 threads)",
    seconds=9.5,
    environment={"python": "3.11"},
    members={"m": RESULT},
    failed={"n": "it diverges"},
    progress={"m": Progress(2, 3)},
    estimate={"m": MemberEstimate(3, 1.5)},
    ensemble=EnsembleResult(["m"], 0.5, 0.4),
    files={"submission.csv": "0" * 64},
    ranks=["cuda:0", "cuda:1"],
)
