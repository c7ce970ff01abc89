"""Near copies: planted ones are found and nothing else is, and the correlation is that of a plain search."""

import numpy as np
import pytest
import torch
from PIL import Image

from src.dataset import CLASS_NAMES
from src.ensemble.labelled_copies import NEAR_COPY, label_near_copies
from src.ensemble.near_copies import (
    MIN_CORRELATION,
    NearCopies,
    aligned_correlation,
    best_match,
    find_near_copies,
    middle_of,
    window_sums,
)
from src.ensemble.near_copies_file import read_near_copies, write_near_copies
from src.ensemble.predictions import Predictions
from src.errors import UserError

CPU = torch.device("cpu")


def photographs(number: int, seed: int = 0) -> list[Image.Image]:
    """Smooth random pictures of 96 x 96 pixels, each of its own."""
    rng = np.random.default_rng(seed)
    grays = rng.integers(0, 256, (number, 12, 12), dtype=np.uint8)
    return [Image.fromarray(one).resize((96, 96), Image.Resampling.BICUBIC) for one in grays]


def cut(photograph: Image.Image, left: float, top: float, side: float) -> np.ndarray:
    """A square of a photograph as an image of 48 x 48 pixels, uint8."""
    box = (left, top, left + side, top + side)
    return np.asarray(photograph.resize((48, 48), Image.Resampling.BICUBIC, box))


@pytest.fixture(scope="module")
def train() -> np.ndarray:
    """The middle of each of 40 photographs."""
    return np.stack([cut(one, 24, 24, 48) for one in photographs(40)])


@pytest.mark.parametrize(
    ("left", "top", "side"),
    [
        (24, 24, 48),  # the same
        (18, 29, 48),  # shifted
        (27, 22, 40),  # enlarged
        (20, 20, 56),  # reduced
        (19, 22, 61),
        (30, 28, 38),
    ],
)
def test_a_photograph_that_is_cut_out_differently_is_found_and_no_other(train, left, top, side):
    rows = [3, 11, 30]
    test = np.stack([cut(photographs(40)[row], left, top, side) for row in rows])
    strangers = np.stack([cut(one, 24, 24, 48) for one in photographs(20, seed=1)])
    found = find_near_copies(train, np.concatenate([strangers, test]), CPU)
    assert found.test_rows.tolist() == [20, 21, 22] and found.train_rows.tolist() == rows
    assert (found.correlation >= MIN_CORRELATION).all()


def test_brightness_and_contrast_do_not_matter_and_several_copies_are_all_found(train):
    known = np.concatenate([train, train[5:6] // 2 + 40])
    found = find_near_copies(known, 255 - (255 - train[5:7]) // 3, CPU)
    assert list(zip(found.test_rows, found.train_rows, strict=True)) == [(0, 5), (0, 40), (1, 6)]
    assert found.correlation.dtype == np.float32 and (found.correlation > 0.99).all()


def test_images_that_are_alike_at_a_low_resolution_alone_are_no_near_copies(train):
    """Noise, which the means of 3 x 3 pixels hardly show, lowers the correlation as far as its deviation says."""
    noise = np.random.default_rng(3).normal(size=(2, 48, 48)) * np.array([10, 45])[:, None, None]
    found = find_near_copies(train, (train[[8, 9]] * 0.5 + 64 + noise).clip(0, 255).astype(np.uint8), CPU)
    assert list(zip(found.test_rows, found.train_rows, strict=True)) == [(0, 8)]


def test_flat_images_have_no_near_copies_and_no_images_have_none(train):
    flat = np.full((3, 48, 48), 128, np.uint8)
    assert not len(find_near_copies(np.concatenate([train, flat]), flat, CPU).test_rows)
    for known, asked in ((train[:0], train), (train, train[:0])):
        assert not len(find_near_copies(known, asked, CPU).test_rows)


def test_what_is_called_in_between_can_end_the_search(train):
    def end():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_near_copies(train, train, CPU, end)


def test_the_correlation_is_that_of_a_plain_search_through_all_places(train):
    crops = middle_of(torch.from_numpy(train[:4]), 40)
    found = best_match(crops, torch.from_numpy(train[[0, 7, 2, 9]]).float())
    for crop, image, value in zip(crops.numpy(), train[[0, 7, 2, 9]], found, strict=True):
        places = [(y, x) for y in range(13) for x in range(13)]
        windows = [image[y : y + 36, x : x + 36].astype(float) for y, x in places]
        plain = max(np.corrcoef(crop.ravel(), window.ravel())[0, 1] for window in windows)
        assert value == pytest.approx(plain, abs=1e-4)


def test_the_best_of_three_sizes_counts_and_none_is_larger_than_the_image(train):
    images, pairs = torch.from_numpy(train), torch.tensor([[0, 0], [1, 5]])
    for side, sizes in ((36, (34, 36, 38)), (48, (46, 48))):
        each = [best_match(middle_of(images[:2], size), images[[0, 5]].float()) for size in sizes]
        torch.testing.assert_close(aligned_correlation(images, images, pairs, side), torch.stack(each).amax(0))


def test_window_sums_are_plain_sums(train):
    images = torch.from_numpy(train[:2]).float()
    plain = images.unfold(1, 36, 1).unfold(2, 36, 1).double().sum((3, 4))
    torch.testing.assert_close(window_sums(images), plain)


# ---------------------------------------------------------------------------------------------- votes


def predictions(probs) -> Predictions:
    valid = np.random.default_rng(0).dirichlet(np.ones(7), 3).astype(np.float32)
    return Predictions({"member": "a"}, np.arange(3), valid, np.array(probs, np.float32))


def near(*pairs: tuple[int, int]) -> NearCopies:
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return NearCopies(rows[:, 0], rows[:, 1], np.ones(len(rows), np.float32))


def test_each_near_copy_raises_the_log_odds_of_its_label_and_other_rows_stay():
    probs = np.random.default_rng(1).dirichlet(np.ones(7), 3)
    before = predictions(probs)
    after, count = label_near_copies(before, np.array([2, 4, 4]), near((1, 0), (1, 1), (1, 2)))
    assert count == 1
    np.testing.assert_array_equal(after.test[[0, 2]], before.test[[0, 2]])
    np.testing.assert_array_equal(after.valid, before.valid)
    gain = np.log(after.test[1] / before.test[1])
    np.testing.assert_allclose(gain - gain[0], [0, 0, NEAR_COPY, 0, 2 * NEAR_COPY, 0, 0], atol=1e-4)
    assert after.test[1].sum() == pytest.approx(1, abs=1e-6) and after.test.dtype == np.float32


def test_many_near_copies_and_certain_predictions_leave_probabilities():
    labels = np.array([1] * 500 + [2] * 500)
    after, _ = label_near_copies(predictions(np.eye(7)[[5]]), labels, near(*((0, row) for row in range(1000))))
    np.testing.assert_allclose(after.test[0], [0, 0.5, 0.5, 0, 0, 0, 0], atol=1e-3)


def test_a_sure_prediction_resists_one_near_copy_and_an_unsure_one_follows_it():
    sure, unsure = np.full((2, 7), [[0.002], [0.09]])
    sure[CLASS_NAMES.index("Happy")], unsure[CLASS_NAMES.index("Happy")] = 0.988, 0.46
    after, _ = label_near_copies(predictions([sure, unsure]), np.array([0]), near((0, 0), (1, 0)))
    assert after.test.argmax(1).tolist() == [CLASS_NAMES.index("Happy"), 0]


# ----------------------------------------------------------------------------------------- the file


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "near_copies.csv"
    found = NearCopies(np.array([1, 5]), np.array([7, 0]), np.float32([0.93, 0.995]))
    write_near_copies(path, found)
    for one, other in zip(vars(found).values(), vars(read_near_copies(path, 8, 6)).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    write_near_copies(path, near())
    assert not len(read_near_copies(path, 8, 6).test_rows)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("test_row,train_row\n1,2\n", "no near copies of this kit"),
        ("test_row,train_row,correlation\n1,x,1\n", "no near copies of this kit"),
        ("test_row,train_row,correlation\n1,2.5,1\n", "no near copies of this kit"),
        ("test_row,train_row,correlation\n1,2,1\n6,2,1\n", "line 3: a row that the data does not have"),
        ("test_row,train_row,correlation\n1,8,1\n", "line 2: a row that the data does not have"),
        ("test_row,train_row,correlation\n-1,2,1\n", "line 2: a row that the data does not have"),
        ("", "no near copies of this kit"),
    ],
)
def test_another_file_is_refused_with_the_line(tmp_path, text, reason):
    path = tmp_path / "near_copies.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=f"near_copies.csv: {reason}.*\n.*again"):
        read_near_copies(path, 8, 6)
