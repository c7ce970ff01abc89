"""Finds a network's pretrained weights: a named file or folder, an earlier run, a file with its name, or the hub."""

import contextlib
import re
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from src.bounded_io import list_files
from src.config import Member
from src.errors import UserError
from src.models.state_dict import load_weights
from src.models.weight_files import SUFFIXES, is_weights_file, kind_of_part

HUB_TIMEOUT = 10  # seconds; a kernel without internet must not hang before its first epoch


@dataclass(frozen=True)
class FoundWeights:
    """file: None if there is none. origin: where it comes from, or why there is none. notes: lines for the log."""

    file: Path | None
    origin: str
    notes: list[str]


def find_weights(member: Member, body: nn.Module, folder: Path) -> FoundWeights:
    """The weights file for the member's network `body`, which has loaded it then.

    By the setting `pretrained`: "auto" (a file below `folder` with the architecture in its name, else the hub's; one
    that does not fit is passed over), or a file, a folder, or the folder of a run, each also with #KEY for a table in
    the file. Raises UserError if what is named does not exist or does not fit.
    """
    if member.pretrained != "auto":
        return find_named(*parse_pretrained_setting(member.pretrained, folder), body, member)
    published, notes = body.pretrained_cfg, []
    found = files_for(published["architecture"], folder)
    if file := first_that_fits(found, body, notes):
        return FoundWeights(file, f"first of {len(found)} files with its name" if found[1:] else "by its name", notes)
    reason = f"no file below {folder} has its name" + (" and fits" if found else "")
    try:
        file = download(published["architecture"], published.get("hf_hub_id"))
    except Exception as error:  # the hub, its client and the network can raise anything, and none may stop a run
        what = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        return FoundWeights(None, f"{reason}, and the hub cannot be used ({what})", notes)
    if first_that_fits([file], body, notes):
        return FoundWeights(file, "from the hub", notes)
    return FoundWeights(None, f"{reason}, and the hub's does not fit", notes)


def parse_pretrained_setting(setting: str, folder: Path | None = None) -> tuple[Path, str | None]:
    """The path that a setting names, as given or below `folder`, and the key after #, if there is one."""
    name, mark, key = (setting, "", "") if Path(setting).exists() else setting.rpartition("#")
    path = Path(name if mark else setting).expanduser()
    below = folder / path if folder else path
    return (below if below.exists() and not path.exists() else path), (key if mark else None)


def first_that_fits(files: Iterable[Path], body: nn.Module, notes: list[str], choice: str | None = None) -> Path | None:
    """The first file whose weights the network can load, and it has loaded them then; the others are noted."""
    for file in files:
        try:
            notes += load_weights(body, file, choice)
            return file
        except UserError as error:
            notes.append(f"passed over: {error}")
    return None


def find_named(path: Path, choice: str | None, body: nn.Module, member: Member) -> FoundWeights:
    """The file that `path` names, or the one in that folder that fits; UserError if there is none, or it is unclear."""
    if path.is_file():
        return FoundWeights(path, "as given", load_weights(body, path, choice))
    if not path.is_dir():
        raise UserError(f"pretrained={path}: no such file or folder; name a weights file ({', '.join(SUFFIXES)})")
    files = weight_files(path)
    members = [file for file in files if is_of_run(file) and file.name == "model.safetensors"]
    one_run = len({file.parent.parent for file in members}) == 1 and all(map(is_of_run, files))
    is_run = (path / "run.json").exists() or one_run
    files = sorted(members, key=lambda file: file.parent.name != member.name) if is_run else files
    if not files:
        raise UserError(f"pretrained={path}: no weight file there" + (" of a finished member" if is_run else ""))
    architecture = getattr(body, "pretrained_cfg", {}).get("architecture") or member.network
    named = files if is_run else files_for(architecture, path)
    if all(parts := [kind_of_part(file.name) for file in files]):
        raise UserError(f"pretrained={path}: {files[0].name} is {parts[0]}")
    if not named and len(files) > 1:
        what = f"{len(files)} weight files, none named {architecture}"
        raise UserError(f"pretrained={path}: {what} there; name a file ({', '.join(SUFFIXES)})")
    notes = []
    if file := first_that_fits(named or files, body, notes, choice):
        return FoundWeights(file, f"member {file.parent.name} of an earlier run" if is_run else "as given", notes)
    raise UserError(f"pretrained={path}: {'; '.join(notes).replace('passed over: ', '')}")


# ------------------------------------------------------------------------------------------ files


def weight_files(folder: Path) -> list[Path]:
    """The weight files below a folder, in the order of their paths."""
    return [file for file in list_files(folder) if is_weights_file(file)] if folder.is_dir() else []


def is_of_run(file: Path) -> bool:
    """Whether a run of the kit wrote it: then it was trained on this data set, perhaps on the validation fold."""
    return (file.parent.parent.parent / "run.json").exists() or (file.parent / "history.csv").exists()


def files_for(architecture: str, folder: Path) -> list[Path]:
    """The weight files with the architecture's name that no run wrote: first those with it in their own name."""
    name, files = normalized(architecture), [file for file in weight_files(folder) if not is_of_run(file)]
    of_file = [f for f in files if name in normalized(f.name)]
    return of_file + [f for f in files if f not in of_file and name in normalized(str(f.parent.relative_to(folder)))]


def normalized(name: str) -> str:
    """The name with one kind of separator, also at both ends: mobilevit-xxs is mobilevit_xxs, resnet18d no resnet18."""
    return f"_{re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_')}_"


# ------------------------------------------------------------------------------------------ the hub


def download(architecture: str, repository: str | None) -> Path:
    """The published weights in the library's cache, downloaded if they are not there; raises if that fails.

    repository: the hub's name for timm's networks; None for torchvision's.
    """
    if repository is None:
        return download_from_torchvision(architecture)
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, "model.safetensors", local_files_only=True))
    except LocalEntryNotFoundError:
        require_answer(constants.ENDPOINT)
    return Path(hf_hub_download(repository, "model.safetensors", etag_timeout=HUB_TIMEOUT))


def download_from_torchvision(architecture: str) -> Path:
    """torchvision's weights; their file name holds the first digits of their SHA-256, which is checked."""
    import torchvision

    url = torchvision.models.get_model_weights(architecture).DEFAULT.url
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not path.is_file():
        require_answer(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = re.search(r"-([0-9a-f]+)\.", path.name)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix[1] if prefix else None, progress=False)
    return path


def require_answer(url: str) -> None:
    """Raises OSError within HUB_TIMEOUT if the server does not answer."""
    with contextlib.suppress(urllib.error.HTTPError):  # a refusal is an answer
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=HUB_TIMEOUT).close()
