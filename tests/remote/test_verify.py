"""Files of a fetched run without run.json are judged by their form."""

import numpy as np

from remote.verify import damaged_files
from src.report.attention_history import FILE_NAME, AttentionHistory, save_attention


def test_recorded_maps_are_whole_and_cut_ones_are_not(tmp_path):
    file, faces = tmp_path / "members" / "cnn" / FILE_NAME, np.zeros((2, 48, 48), np.uint8)
    file.parent.mkdir(parents=True)
    probs = np.full((1, 2, 7), 1 / 7, np.float32)
    save_attention(file, AttentionHistory(faces, np.array([0, 6]), np.array([1]), probs, {"Grad-CAM": faces[None]}))
    assert damaged_files([file], tmp_path) == {}
    file.write_bytes(file.read_bytes()[:-30])
    assert "damaged" in damaged_files([file], tmp_path)[file]


def test_json_that_is_nested_too_deep_is_damaged(tmp_path):
    file = tmp_path / "members" / "m" / "result.json"
    file.parent.mkdir(parents=True)
    file.write_text("[" * 100_000)
    assert damaged_files([file], tmp_path) == {file: "it cannot be read (RecursionError)"}
