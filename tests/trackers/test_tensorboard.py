"""What the real TensorBoard package writes in a run, read back by its own reader."""

import io

import pandas as pd
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def events(tracked_run):
    """All events of the member."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(tracked_run.folder / "tracking/tensorboard/small"))
    return found.Reload()


def test_the_scalars_are_those_of_history_csv_also_after_a_resumption(tracked_run, events):
    table = pd.read_csv(tracked_run.folder / "members/small/history.csv")
    for name, column in {"valid/accuracy": "valid_accuracy_percent", "train/loss": "train_loss", "lr": "lr"}.items():
        points = events.Scalars(name)
        assert [point.step for point in points] == [1, 2]
        assert [point.value for point in points] == pytest.approx(table[column].tolist(), rel=1e-5)
    assert len(events.Scalars("batch/loss")) > 4


def test_the_figures_and_the_samples_are_pictures(events):
    names = ("confusion_matrix", "precision_recall", "roc", "samples")
    for name in names:
        (picture,) = events.Images(f"validation/{name}")
        image = Image.open(io.BytesIO(picture.encoded_image_string))
        assert min(image.size) > 100 and len(image.getcolors(1 << 20)) > 5


def test_the_settings_are_a_text(events):
    text = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert '"network": "compact_cnn"' in text and '"recipe": "tiny"' in text
