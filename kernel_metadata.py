"""kernel-metadata.json, which `kaggle kernels push` reads: checked for every mistake that the client does not report.

The client ignores unknown keys, turns internet on by default and exits with 0 when the server refuses. So mistakes are
reported here, before GPU hours are spent. Standard library only: build.py uses it.
"""

import difflib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import kaggle_account

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
SLUG = "[a-z0-9-]+"
# The first parts of addresses at kaggle.com and of paths in a kernel. No owner has such a name.
ADDRESS_WORDS = "c code competitions datasets input kaggle kernels models notebooks"
NOT_ADDRESS = rf"(?!(?:{'|'.join(ADDRESS_WORDS.split())})/)"
SOURCES = {
    "id": (rf"{NOT_ADDRESS}{OWNER}/{SLUG}", "owner/name-of-the-kernel"),
    "competition_sources": (SLUG, "the competition's name"),
    "dataset_sources": (rf"{NOT_ADDRESS}{OWNER}/{SLUG}(/[0-9]+)?", "owner/name"),
    "kernel_sources": (rf"{NOT_ADDRESS}{OWNER}/{SLUG}", "owner/name"),
    "model_sources": (
        rf"{NOT_ADDRESS}{OWNER}(/[A-Za-z0-9._-]+){{3}}/[0-9]+",
        "owner/model/framework/variation/version",
    ),
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
    slug = slug_of(title)
    if reason := wrong_name("id", str(data["id"])):
        yield reason
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
    given = data["competition_sources"]
    if isinstance(given, list) and COMPETITION not in [exact_name("competition_sources", str(name)) for name in given]:
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
        yield from filter(None, (wrong_name(key, name) for name in value if key in SOURCES))


def wrong_name(key: str, name: str) -> str:
    """Why the name is not exactly one that Kaggle knows things by, with the right form; empty where it is."""
    pattern, form = SOURCES[key]
    if re.fullmatch(pattern, name):
        return ""
    exact = exact_name(key, name)
    return f"{key}: {name!r} must be {repr(exact) if exact else form}"


def exact_name(key: str, name: str) -> str | None:
    """The name in a text such as an address, a path in a kernel, or the name in other letters; None without one.

    Kaggle rejects a source that is not exact after the push, and the version then runs without its files.
    """
    pattern, _ = SOURCES[key]
    address = re.sub(r"^(https?:)?/*(www\.)?kaggle\.com(?=/)", "", name.strip(), flags=re.IGNORECASE)
    parts = [part.strip() for part in re.split(r"[?#]", address)[0].split("/") if part.strip()]
    while parts and parts[0].lower() in ADDRESS_WORDS.split():
        parts.pop(0)
    if key == "competition_sources":  # further parts are pages: /data, /overview
        found = "/".join(map(slug_of, parts[:1]))
    elif key == "model_sources":
        found = "/".join(re.sub(r"\s+", "-", part) for part in parts[:5])
    else:
        version = [part for part in parts[2:] if part.isdecimal()][:1] if key == "dataset_sources" else []
        found = "/".join([*(re.sub(r"\s+", "-", part) for part in parts[:1]), *map(slug_of, parts[1:2]), *version])
    return found if re.fullmatch(pattern, found) else None


def slug_of(text: str) -> str:
    """A title as Kaggle writes it in an address."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


# Whose kernel it is -------------------------------------------------------------------------------------------------


def owner_of(data: dict) -> str | None:
    """The owner that the id names; None for the placeholder."""
    owner = str(data["id"]).split("/")[0]
    return None if owner.upper() == PLACEHOLDER else owner


def known_owner() -> str | None:
    """The name that the Kaggle client knows; None where it knows none, or one that cannot be an owner's."""
    name = kaggle_account.user_name()
    return name if name and re.fullmatch(OWNER, name) else None


def fill_in_owner(root: Path) -> str:
    """Replaces the placeholder by the name that the Kaggle client knows, and returns a line that says so.

    Empty where the metadata names an owner, and where the client knows no name that can be one.
    """
    owner = known_owner() if owner_of(read_metadata(root)) is None else None
    if not owner:
        return ""
    set_owner(root, owner)
    return f"{NAME}: the owner is now {owner}, the name that the Kaggle client knows"


def push_obstacle(root: Path) -> str:
    """Why `kaggle kernels push` would fail, and what to do; empty where nothing is known."""
    problem = kaggle_account.key_file_problem()
    if problem or owner_of(read_metadata(root)) is not None:
        return problem
    if known_owner():
        return f"{NAME} names no owner yet. Run: python build.py"
    name = kaggle_account.user_name()
    known = f"{name!r} cannot be one" if name else "the Kaggle client knows no name"
    return f"{NAME} names no owner, and {known}. Run: python build.py --owner NAME"


def set_owner(root: Path, owner: str) -> None:
    """Puts the owner's name into the id and leaves every other character alone; empty: the name the client knows."""
    owner = owner or kaggle_account.user_name() or ""
    if not owner:
        problem = kaggle_account.key_file_problem() or "the Kaggle client knows no name here"
        raise BuildError(f"--owner: {problem}; give the name: --owner NAME")
    if not re.fullmatch(OWNER, owner):
        raise BuildError(f"--owner {owner}: must be the name in your profile's address, letters, digits and hyphens")
    replace_once(root, r'("id"\s*:\s*")[^/"]*(?=/)', lambda found: found[1] + owner, "id of the form owner/name")


def add_dataset(root: Path, dataset: str) -> bool:
    """Puts `dataset` (owner/name) among the dataset_sources; False where it is there already."""
    listed = read_datasets(root)
    if dataset in listed:
        return False
    write_datasets(root, [*listed, dataset])
    return True


def remove_dataset(root: Path, name: str) -> str:
    """Takes a dataset out of the dataset_sources and returns it; `name` is its name, with or without the owner.

    Raises BuildError where there is not exactly one of that name.
    """
    listed = read_datasets(root)
    wanted = exact_name("dataset_sources", name) or slug_of(name)
    found = [source for source in listed if name == source or wanted in (source, *without_version(source))]
    if len(found) != 1:
        there = ", ".join(listed) or "none"
        many = "several datasets have that name" if found else "no dataset of that name is among the sources"
        raise BuildError(f"--remove {name}: {many}; {NAME} has: {there}")
    write_datasets(root, [source for source in listed if source != found[0]])
    return found[0]


def without_version(source: str) -> tuple[str, str]:
    """owner/name of a dataset that may have a version behind it, and name."""
    parts = source.split("/")
    return "/".join(parts[:2]), "".join(parts[1:2])


def read_datasets(root: Path) -> list[str]:
    """The list dataset_sources; BuildError where it is none."""
    listed = read_metadata(root).get("dataset_sources", [])
    if not (isinstance(listed, list) and all(isinstance(source, str) for source in listed)):
        raise BuildError(f"{NAME}: dataset_sources must be a list of strings, not {json.dumps(listed)}")
    return listed


def write_datasets(root: Path, datasets: list[str]) -> None:
    """Writes the list dataset_sources; adds it where there is none."""
    texts = json.dumps(datasets)
    if "dataset_sources" not in read_metadata(root):
        replace_once(root, r"\s*\}\s*\Z", lambda _: f',\n  "dataset_sources": {texts}\n}}\n', "end of the object")
        return
    replace_once(root, r'("dataset_sources"\s*:\s*)\[[^\]]*\]', lambda found: found[1] + texts, "list dataset_sources")


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
