"""kernel-metadata.json, which `kaggle kernels push` reads: checked for every mistake that the client does not report.

The client ignores unknown keys, turns internet on by default and exits with 0 when the server refuses. So mistakes are
reported here, before GPU hours are spent. Standard library only: build.py uses it.
"""

import difflib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

NAME = "kernel-metadata.json"
PLACEHOLDER = "YOUR-KAGGLE-NAME"
COMPETITION = "challenges-in-representation-learning-facial-expression-recognition-challenge"
HOURS = 11.75  # a session's limit; the script itself ends after 11.5
MAX_HOURS = 12.0  # what Kaggle allows

REQUIRED = "id title code_file language kernel_type enable_internet machine_shape competition_sources"
OPTIONAL = """
id_no is_private enable_gpu enable_tpu dataset_sources kernel_sources model_sources keywords docker_image
docker_image_pinning_type
"""
# The GPU names among the client's --accelerator values. Not NvidiaTeslaP100: the image's torch has no kernels for it.
MACHINE_SHAPES = "NvidiaTeslaT4 NvidiaL4 NvidiaL4X1 NvidiaTeslaA100 NvidiaH100 NvidiaRtxPro6000"
OWNER = r"[A-Za-z0-9-]+"
SOURCES = {
    "dataset_sources": (rf"{OWNER}/[A-Za-z0-9-]+(/\d+)?", "owner/name"),
    "kernel_sources": (rf"{OWNER}/[A-Za-z0-9-]+", "owner/name"),
    "model_sources": (rf"{OWNER}(/[A-Za-z0-9._-]+){{3}}/\d+", "owner/model/framework/variation/version"),
}


class BuildError(Exception):
    """The tree cannot be built or pushed as it is; one `file:line: reason` or `file: reason` a line."""


def read_metadata(root: Path) -> dict:
    """The content of kernel-metadata.json below `root`; BuildError where it is no JSON object."""
    try:
        return dict(json.loads((root / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BuildError(f"{NAME}: {error}") from None


def check_metadata(root: Path, code_file: str) -> dict:
    """Returns the content of kernel-metadata.json; raises BuildError with everything that is wrong in it."""
    data = read_metadata(root)
    known = f"{REQUIRED} {OPTIONAL}".split()
    problems = [f"key {key!r} is missing" for key in REQUIRED.split() if key not in data]
    for key in data.keys() - set(known):
        close = difflib.get_close_matches(key, known, n=1)
        problems.append(f"unknown key {key!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    problems = sorted(problems) or list(wrong_values(data, code_file))
    if problems:
        raise BuildError("\n".join(f"{NAME}: {problem}" for problem in problems))
    return data


def wrong_values(data: dict, code_file: str) -> Iterator[str]:
    """Yields what the client or the server would refuse, or understand in another way than meant."""
    title = str(data["title"])
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    if not re.fullmatch(rf"{OWNER}/[a-z0-9-]+", str(data["id"])):
        yield f"id {data['id']!r} must be owner/name-of-the-kernel"
    elif data["id"].split("/")[1] != slug:
        yield f"title {title!r} becomes {slug!r}, not the id's {data['id'].split('/')[1]!r}: a second kernel"
    if not 5 <= len(title) <= 50:
        yield f"title has {len(title)} characters; Kaggle takes 5 to 50"
    expected = {"code_file": code_file, "language": "python", "kernel_type": "script", "enable_internet": False}
    for key, value in expected.items():
        if data[key] != value or type(data[key]) is not type(value):
            yield f"{key} must be {json.dumps(value)}, not {json.dumps(data[key])}"
    yield from wrong_kinds(data)
    if data["machine_shape"] not in MACHINE_SHAPES.split():
        yield f"machine_shape {data['machine_shape']!r} is not one of {MACHINE_SHAPES}"
    if COMPETITION not in str(data["competition_sources"]):
        yield f"competition_sources must name {COMPETITION!r}, or the kernel finds no data"


def wrong_kinds(data: dict) -> Iterator[str]:
    """Yields switches that are not true or false, lists that are not lists of strings, and malformed sources."""
    for key, value in data.items():
        if key.startswith(("is_", "enable_")) and type(value) is not bool:
            yield f"{key} must be true or false, not {json.dumps(value)}"
        if not key.endswith(("_sources", "words")):
            continue
        if not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            yield f"{key} must be a list of strings, not {json.dumps(value)}"
            continue
        pattern, form = SOURCES.get(key, (".*", ""))
        yield from (f"{key}: {v!r} must be {form}" for v in value if not re.fullmatch(pattern, v))


# Whose kernel it is -------------------------------------------------------------------------------------------------


def owner_of(data: dict) -> str | None:
    """The owner that the id names; None for the placeholder."""
    owner = str(data["id"]).split("/")[0]
    return None if owner == PLACEHOLDER else owner


def config_folder() -> Path:
    """Where the Kaggle client keeps kaggle.json: KAGGLE_CONFIG_DIR, ~/.kaggle, or else, on Linux, the XDG folder."""
    if os.environ.get("KAGGLE_CONFIG_DIR"):
        return Path(os.environ["KAGGLE_CONFIG_DIR"])
    old = Path.home() / ".kaggle"
    if old.is_dir() or os.name != "posix":
        return old
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"


def client_file(path: Path) -> dict:
    """One of the client's JSON files; empty where it is not there or cannot be read."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def own_name() -> str | None:
    """The user's name as the Kaggle client knows it, without a call: KAGGLE_USERNAME, kaggle.json, or the login's."""
    found = [os.environ.get("KAGGLE_USERNAME")]
    found += [client_file(config_folder() / "kaggle.json").get("username")]
    found += [client_file(Path.home() / ".kaggle/credentials.json").get("username")]
    return next((name for name in found if name), None)


def set_owner(root: Path, owner: str) -> None:
    """Puts the owner's name into the id and leaves every other character alone; empty: the name the client knows."""
    owner = owner or own_name() or ""
    if not owner:
        raise BuildError("--owner: the Kaggle client knows no name here; give it: --owner NAME")
    if not re.fullmatch(OWNER, owner):
        raise BuildError(f"--owner {owner}: must be the name in your profile's address, letters, digits and hyphens")
    replace_once(root, r'("id"\s*:\s*")[^/"]*(?=/)', lambda found: found[1] + owner, "id of the form owner/name")


def add_dataset(root: Path, dataset: str) -> bool:
    """Puts `dataset` (owner/name) among the dataset_sources; False where it is there already."""
    listed = read_metadata(root).get("dataset_sources", [])
    if dataset in listed:
        return False
    texts = json.dumps([*listed, dataset])
    replace_once(root, r'("dataset_sources"\s*:\s*)\[[^\]]*\]', lambda found: found[1] + texts, "list dataset_sources")
    return True


def replace_once(root: Path, pattern: str, new, what: str) -> None:
    """Replaces the one place that matches, byte for byte the rest; BuildError where there is not exactly one."""
    text = (root / NAME).read_bytes().decode("utf-8")
    changed, count = re.subn(pattern, new, text)
    if count != 1:
        raise BuildError(f"{NAME}: there must be one {what} to write to")
    write_atomically(root / NAME, changed.encode("utf-8"))


def write_atomically(path: Path, content: bytes) -> None:
    """Writes to a temporary name and renames, so nobody reads half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_bytes(content)
    temporary.replace(path)
