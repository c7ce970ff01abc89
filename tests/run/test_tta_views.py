"""`tta` gives the figures of plain formulas on a run's validation rows, and refuses runs that have none."""

import re

import numpy as np
import pytest
import torch

from src.data import competition
from src.ensemble.predictions import load_predictions
from src.errors import UserError
from src.main import main
from src.models.trained import load_trained, member_of_training
from src.run.run_folder import RunFolder
from src.run.tta_views import Scored, compare_views, views_table
from src.train.precision import choose_precision
from src.train.predict import probabilities
from src.train.tta import TTA_VIEWS
from tests.conftest import fake_bundle
from tests.support.small_runs import MEMBERS, train

pytestmark = pytest.mark.usefixtures("narrow_networks")


@pytest.fixture(scope="module")
def run(faces, tmp_path_factory):
    output = tmp_path_factory.mktemp("views")
    return output, train(faces, output)


def figures(text: str) -> dict[str, list[float]]:
    """The numbers of each line of the table."""
    lines = re.findall(r"^  (\w+) +\d+ views?(.*)$", text, re.MULTILINE)
    return {name: [float(number) for number in re.findall(r"-?\+?\d+\.\d+", rest)] for name, rest in lines}


def test_the_table_has_the_accuracies_and_paired_gains_of_plain_formulas(run, faces):
    output, record = run
    data, right = competition.read_competition(faces), {}
    precision = choose_precision("auto", torch.device("cpu"))
    for name in MEMBERS:
        rows = load_predictions(RunFolder(output).predictions(name)).valid_rows
        net = load_trained(member_of_training(record.recipe, name), RunFolder(output).weights_file(name))
        images = torch.from_numpy(data.train.images[rows]).unsqueeze(1)
        for views in TTA_VIEWS:
            named = probabilities(net, images, views, precision).argmax(1).numpy()
            right.setdefault(views, []).append(named == data.train.labels[rows])
    text = compare_views([output], faces, "cpu")
    found = figures(text)
    assert list(found) == list(TTA_VIEWS) and f"on {len(rows)} validation rows of 2 members" in text
    for views, numbers in found.items():
        gains = np.mean(right[views], axis=0) - np.mean(right["none"], axis=0)
        expected = [100 * np.mean(right[views]), *([100 * gains.mean(), 100 * gains.std() / len(rows) ** 0.5])]
        np.testing.assert_allclose([numbers[0], *numbers[2:]], expected[: len(numbers) - 1], atol=0.006)


def test_accuracies_and_gains_of_members_with_other_rows_are_of_all_rows():
    """60 % of 1,010 rows without views. Flipped, all of the first ten rows are right too, and 4 more of the others."""
    few, many = np.arange(10), np.arange(10, 1010)
    nothing = np.zeros(10, bool), many < 616
    flipped = np.ones(10, bool), many < 620
    found = []
    for rows, none, flip in zip((few, many), nothing, flipped, strict=True):
        scored = {name: Scored(none, 1.0) for name in TTA_VIEWS} | {"flip": Scored(flip, len(rows) / 100)}
        found.append((rows, scored))
    numbers = figures("\n".join(views_table(found)))
    assert numbers["none"][0] == 60 and numbers["flip"][0] == pytest.approx(61.39, abs=0.005)
    assert numbers["flip"][2] == pytest.approx(1.39, abs=0.005)
    assert numbers["flip"][1] == pytest.approx((10 * 0.1 + 1000 * 10) / 1010, abs=1e-4)


def test_the_command_prints_it(run, faces, capsys):
    assert main(["tta", str(run[0]), "--input", str(faces), "--device", "cpu"], fake_bundle()) == 0
    assert figures(capsys.readouterr().out).keys() == TTA_VIEWS.keys()


def test_a_run_without_rows_that_it_had_not_learnt_is_refused(faces, tmp_path):
    train(faces, tmp_path / "none", "fold=none")
    with pytest.raises(UserError, match="compact_cnn has no validation rows that it had not learnt"):
        compare_views([tmp_path / "none"], faces, "cpu")
    with pytest.raises(UserError, match=r"no run\.json there"):
        compare_views([tmp_path], faces, "cpu")
