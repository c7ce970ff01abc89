"""`explore` reports what was planted in the data, from any of its forms, and never what a test label says."""

import contextlib
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from src import config, recipes
from src.config import Augment, Recipe
from src.data.augment import augment
from src.data.competition import Competition, Faces, read_competition
from src.dataset import CLASS_NAMES
from src.main import main
from src.report.explore import SECTIONS, summary
from src.report.explore_augment import augment_section, augmentations, versions
from src.report.explore_classes import classes_section, pixels_section
from src.report.explore_split import compare_splits, plain_folds
from src.report.explored import examine
from src.report.page import Notice, Page, render
from tests.conftest import fake_bundle
from tests.report.conftest import EVIL, blurs
from tests.support import competition_files as files
from tests.support.browser import check_page
from tests.support.html import Elements

RECIPE = recipes.get("quick")


def explore(source: Path, output: Path, *more: str) -> int:
    return main(["explore", "--recipe", "quick", "--input", str(source), "--output", str(output), *more], fake_bundle())


@pytest.fixture(scope="module")
def explored(planted, tmp_path_factory) -> tuple[Path, str]:
    """The page of the planted data, and what the terminal said."""
    folder, said = tmp_path_factory.mktemp("explore"), io.StringIO()
    with contextlib.redirect_stdout(said):
        assert explore(planted, folder) == 0
    return folder / "explore.html", said.getvalue()


@pytest.fixture(scope="module")
def page(explored) -> Path:
    return explored[0]


def without_charts(source: Path, recipe: Recipe = RECIPE) -> str:
    """The page's sections that draw no chart, which takes a second, as HTML."""
    found = examine(read_competition(source), recipe)
    makers = [make for make in SECTIONS if make not in (classes_section, pixels_section)]
    return render(Page("", "", [make(found) for make in makers]))


def test_the_page_has_the_figures_that_were_planted(page):
    found = Elements(page.read_text("utf-8"))
    assert found.row("train.csv")[:3] == ["216", "0", "0"] and found.row("train.csv")[4:] == ["3", "2"]
    assert found.row("test.csv")[:2] == ["44", "not read"] and found.row("test.csv")[4:] == ["1", "0"]
    assert found.row("within train.csv") == ["3", "1.39 %"]
    assert found.row("rows of test.csv whose image is in train.csv too") == ["2", "4.55 %"]
    (near,) = [row for row in found.rows if row[0] == "of these with different labels"]
    assert near[1] == "1" and ["between train.csv and test.csv", "1"] in found.rows
    assert "1 group" in found.text and "Fear 1×" in found.text and "rows 2, 213" in found.text
    counts = np.bincount([*np.arange(210) % 7, 0, 0, 2, 3, 0, 0])
    for name, count in zip(CLASS_NAMES, counts, strict=True):
        assert found.row(name)[:2] == [str(count), f"{100 * count / 216:.2f} %"]
    assert found.row("Disgust")[2] == f"{counts.max() / counts[1]:.2f}:1"


def test_a_folder_whose_name_looks_like_html_is_text_in_the_page(page):
    found = Elements(page.read_text("utf-8"))
    assert EVIL in found.text
    assert not [item for _, item in found.elements if "onerror" in item or item.get("src") == "x"]


def test_each_picture_is_a_file_too(page):
    pictures = {file.stem for file in (page.parent / "figures").iterdir()}
    samples = {f"samples-{name.lower()}" for name in CLASS_NAMES}
    assert pictures >= samples | {"classes", "gray-values", "mean-faces", "conflicts", "near-copies", "flat-images"}


def test_a_browser_shows_the_page_on_a_phone_and_a_screen_light_and_dark(browser, page):
    check_page(browser, page)


def test_the_terminal_says_the_main_figures_and_where_the_page_is(explored):
    page, said = explored
    for words in ("216 faces in train.csv, 44 in test.csv", "3 extra rows", "1 group ", "2 pairs", str(page)):
        assert words in said, said


def test_a_split_that_is_not_possible_is_told_and_the_rest_is_shown(planted):
    html = without_charts(planted, config.override(RECIPE, ["folds=100"]))
    assert "No split: folds=100" in html and "Mean faces" in html


@pytest.mark.parametrize(
    "put",
    [files.put_pair, files.put_icml, files.put_full, files.put_tar_gz, files.put_images],
    ids=lambda put: put.__name__,
)
def test_every_form_of_the_data_gives_the_same_figures(tmp_path, put):
    rows = files.random_rows()
    put(tmp_path, rows)
    found = examine(read_competition(tmp_path), RECIPE)
    training = rows[2] == 0
    assert found.class_counts.tolist() == np.bincount(rows[1][training], minlength=7).tolist()
    assert summary(found)["exact copies"].startswith("0 extra rows") and "3 in " in summary(found)["flat images"]


def test_no_test_label_changes_anything_in_the_page(tmp_path):
    images, labels, usage = files.random_rows()
    pages = []
    for change in (0, 1):
        files.put_icml(tmp_path, (images, np.where(usage > 0, (labels + change) % 7, labels), usage))
        pages.append(without_charts(tmp_path))
    assert pages[0] == pages[1]


def test_a_class_without_rows_leaves_a_page(tmp_path):
    images, usage = blurs(60, 8), np.repeat([0, 1], [50, 10])
    files.put_full(tmp_path, (images, np.arange(60) % 2 * 3, usage))
    found = examine(read_competition(tmp_path), RECIPE)
    sections = {section.heading: section for section in (make(found) for make in SECTIONS)}
    assert found.imbalance == 1 and "Split" in sections


def test_the_splits_leak_what_a_plain_count_says():
    images, labels = blurs(60, 10).repeat(2, axis=0), np.arange(120) // 2 % 7
    data = Competition(Faces(images, labels), Faces(blurs(5, 11), None), (Path("a.csv"),), None, "")
    recipe = config.override(RECIPE, ["folds=3", "fold=1"])
    found = examine(data, recipe)
    (_, rows, exact, _), (_, plain_rows, plain_exact, _) = compare_splits(found)
    held_out = plain_folds(labels, 3, recipe.split_seed) == 1
    seen = {image.tobytes() for image in images[~held_out]}
    assert plain_exact == sum(image.tobytes() in seen for image in images[held_out]) > 20
    assert exact == 0 and rows + plain_rows == pytest.approx(80, abs=6)
    assert f"{plain_exact} of {plain_rows} validation faces" in summary(found)["split"]


def test_a_recipe_that_validates_on_its_training_rows_is_told(planted):
    recipe = next(recipe for recipe in map(recipes.get, recipes.RECIPES) if recipe.valid == "train")
    found = examine(read_competition(planted), recipe)
    assert any(
        isinstance(block, Notice) for make in SECTIONS if "split" in make.__name__ for block in make(found).blocks
    )
    assert "split" not in summary(found)


def test_the_augmented_faces_are_those_of_the_training():
    settings, image = Augment(rotation=20, flip=0.5, erase=1.0), blurs(1, 9)[0]
    stored, *changed = versions(image, settings)
    assert np.array_equal(stored.image, image)
    batch = torch.from_numpy(image).expand(len(changed), 1, 48, 48)
    expected = augment(batch, settings, torch.Generator().manual_seed(0))
    for face, tensor in zip(changed, expected, strict=True):
        assert np.abs(face.image / 255 - (tensor[0].numpy() * 0.2551 + 0.5077)).max() < 1 / 255
    assert all(np.array_equal(face.image, image) for face in versions(image, Augment()))


def test_a_recipe_without_augmentation_says_so_and_draws_nothing(planted):
    found = examine(read_competition(planted), recipes.get("simple_cnn_v1"))
    assert augment_section(found).blocks[1:] == ["simple_cnn_v1: no augmentation."]


def test_members_with_one_augmentation_are_shown_together():
    one, two = RECIPE.members
    turned = dataclasses.replace(two, augment=Augment(rotation=5))
    recipe = dataclasses.replace(RECIPE, members=(one, turned, dataclasses.replace(turned, name="third")))
    assert list(augmentations(recipe).values()) == [[one.name], [two.name, "third"]]


@pytest.mark.parametrize("fault", ["no data", "output is a file"])
def test_bad_input_is_answered_in_one_or_two_lines(planted, tmp_path, capsys, fault):
    (tmp_path / "file").write_text("")
    source, output = (tmp_path, tmp_path / "out") if fault == "no data" else (planted, tmp_path / "file")
    assert explore(source, output) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.strip().splitlines()) <= 2 and str(tmp_path) in error
