"""Whether the files of a fetched run are whole: by their SHA-256 in run.json, else by their form."""

import json
import struct
from pathlib import Path

import pandas as pd

from src.ensemble.predictions import load_predictions
from src.errors import UserError
from src.files import digest
from src.report import attention_history
from src.run.intact import stated_digests
from src.run.run_folder import RunFolder
from src.submit.check import parse_submission

ENDS = {".html": b"</html>", ".png": b"IEND\xaeB`\x82"}  # of a page, and of a picture


def damaged_files(files: list[Path], folder: Path) -> dict[Path, str]:
    """The files below `folder` that are not whole, each with what is wrong."""
    return {file: reason for file in files if (reason := damage(file, folder))}


def damage(file: Path, folder: Path) -> str:
    """What is wrong with a fetched file of a run; empty where nothing is."""
    if not file.is_file():
        return "it did not arrive"
    expected = stated_digests(folder).get(file.relative_to(folder).as_posix())
    if expected and file != folder / "run.json":
        return "" if digest(file) == expected else "its SHA-256 is not the one in run.json"
    try:
        return damage_by_form(file, folder)
    except (KeyError, AttributeError, TypeError, RecursionError) as error:  # of another form
        return f"it cannot be read ({type(error).__name__})"
    except (UserError, ValueError, OSError, struct.error) as error:
        return str(error).splitlines()[0].replace(f"{file}: ", "")


def damage_by_form(file: Path, folder: Path) -> str:
    """What is wrong with a file whose digest is not known. May raise an error that says it, too."""
    if file == folder / "run.json":
        RunFolder(folder).read_record()
    elif file == folder / "submission.csv":
        return check_submission(file, folder)
    elif file.name == attention_history.FILE_NAME:
        attention_history.load_attention(file)
    elif file.suffix == ".npz":
        load_predictions(file)
    elif file.suffix == ".csv":
        return check_history(file, folder)
    elif file.suffix == ".json":
        json.loads(file.read_text(encoding="utf-8"))
    elif file.suffix == ".safetensors":
        return check_weights(file)
    elif file.suffix in ENDS:
        return "" if file.read_bytes().rstrip().endswith(ENDS[file.suffix]) else "its end is missing"
    return ""


def check_submission(file: Path, folder: Path) -> str:
    """Fewer rows than run.json says, or a last row that is cut."""
    table, run = parse_submission(file), folder / "run.json"
    expected = len(table.rows) if damage(run, folder) else RunFolder(folder).read_record().rows.test
    if len(table.rows) != expected:
        return f"{len(table.rows):,} rows; the run wrote {expected:,}"
    return "" if table.rows[-1][table.label_column] in set("0123456") else "its last row is cut"


def check_history(file: Path, folder: Path) -> str:
    """Fewer epochs than run.json says of the member."""
    rows = len(pd.read_csv(file))
    result = RunFolder(folder).read_record().members.get(file.parent.name) if file.name == "history.csv" else None
    return f"{rows} epochs of {result.epochs}" if result and result.epochs != rows else ""


def check_weights(file: Path) -> str:
    """Another length than the beginning of the safetensors file says."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > file.stat().st_size:
            return "its header is cut"
        tensors = json.loads(stream.read(length))
    ends = [t["data_offsets"][1] for name, t in tensors.items() if name != "__metadata__"]
    expected = 8 + length + max(ends, default=0)
    return "" if file.stat().st_size == expected else f"{file.stat().st_size:,} bytes of {expected:,}"
