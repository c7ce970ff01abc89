"""Reads the file that W&B writes offline: a log in LevelDB's format, whose records are W&B's protocol buffers."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

BLOCK, HEADER = 32768, 7


def read_records(path: Path) -> Iterator:
    """The records of a .wandb file."""
    from wandb.proto import wandb_internal_pb2

    data, at, content = path.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B"
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # the rest of a block is too small for a record
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        content += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            content = b""
            yield record


class OfflineRun:
    """One start of a W&B run: its `run` record, config, rows of the history, summary and artifacts, by name."""

    def __init__(self, folder: Path):
        (file,) = folder.glob("*.wandb")
        self.folder, self.rows, self.summary, self.artifacts = folder, [], {}, {}
        for record in read_records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "history":
                self.rows.append(values(record.history.item))
            elif kind == "summary":
                self.summary |= values(record.summary.update)
            elif kind == "artifact":
                self.artifacts[record.artifact.name] = record.artifact
            elif kind == "exit":
                self.exit_code = record.exit.exit_code


def values(items) -> dict:
    """Key → value; the parts of a nested key are joined by dots."""
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def offline_runs(folder: Path) -> list[OfflineRun]:
    """The starts in the trackers' folder, the first one first."""
    return [OfflineRun(found) for found in sorted(folder.glob("wandb/offline-run-*"))]
