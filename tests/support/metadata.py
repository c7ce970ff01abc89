"""A right kernel-metadata.json for tests: the one of the checkout belongs to its user."""

import json
from pathlib import Path

import kernel_metadata

METADATA = {
    "id": f"{kernel_metadata.PLACEHOLDER}/fer2013-expressions",
    "title": "FER2013 expressions",
    "code_file": "kernel/fer2013.py",
    "language": "python",
    "kernel_type": "script",
    "is_private": True,
    "enable_gpu": True,
    "enable_internet": False,
    "machine_shape": "NvidiaTeslaT4",
    "competition_sources": [kernel_metadata.COMPETITION],
    "dataset_sources": [],
    "kernel_sources": [],
    "model_sources": [],
    "keywords": [],
}


def write_metadata(root: Path, **changes) -> Path:
    """Writes the file below `root` with some keys changed; the value "gone" leaves its key out. Returns its path."""
    data = {key: value for key, value in (METADATA | changes).items() if value != "gone"}
    file = root / kernel_metadata.NAME
    file.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return file
