"""Pretrained starts: weights for a network from a file, or from the hub where it is reachable.

Weights are read as tensors alone (safetensors, or torch's files with `weights_only`): a file from anywhere cannot run
code. The first layer is summed over its three channels, which keeps the response to a gray image; the last layer, of
other classes, stays fresh.
"""

import contextlib
import math
import re
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from src.errors import UserError
from src.untrusted import walk

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
WRAPPED = ("state_dict", "model", "state_dict_ema", "model_state_dict")  # where training scripts keep the weights
LARGEST = 4 * 2**30  # bytes; a network of a billion weights
SECONDS = 10  # to wait for the hub; a kernel without internet must not hang before its first epoch


def find(wish: str, published: dict, folder: Path) -> tuple[Path | None, str]:
    """The weights' file for a start, and where it comes from; None with the reason where there is none.

    wish: "auto" (a file below `folder` that bears the architecture's name, else the hub's), or a file or folder.
    published: the network's `pretrained_cfg`, with "architecture" and, of timm's, "hf_hub_id". Raises UserError where a
    named file is not there.
    """
    architecture = published["architecture"]
    if wish != "auto":
        return named(Path(wish), architecture), "as given"
    below = candidates(folder, architecture)
    if below:
        return below[0], f"first of {len(below)} files that bear its name" if len(below) > 1 else "by its name"
    try:
        return download(architecture, published.get("hf_hub_id")), "from the hub"
    except Exception as error:  # a hub, its client and the network between can raise anything, and none may stop a run
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        return None, f"no file below {folder} bears its name, and the hub gives none ({reason})"


def named(path: Path, architecture: str) -> Path:
    """The file that `path` names, or the one in that folder for the architecture."""
    if path.is_file():
        return path
    found = candidates(path, architecture) or (list(weight_files(path)) if path.is_dir() else [])
    if len(found) == 1 or (found and path.is_dir() and candidates(path, architecture)):
        return found[0]
    what = f"{len(found)} weight files, none named {architecture}" if found else "no weight file"
    raise UserError(f"pretrained={path}: {what} there; name a file ({', '.join(SUFFIXES)})")


def weight_files(folder: Path) -> Iterator[Path]:
    """The weight files below a folder, in the order of their paths; not those that a run of the kit left."""
    files = (file for file in walk(folder) if file.suffix in SUFFIXES)
    return (file for file in files if not left_by_a_run(file))


def left_by_a_run(file: Path) -> bool:
    """Whether the weights are a member's of a run of the kit: trained on these very faces, and perhaps on its folds."""
    return (file.parent.parent.parent / "run.json").exists() or (file.parent / "history.csv").exists()


def candidates(folder: Path, architecture: str) -> list[Path]:
    """The weight files that bear the architecture's name, in their own name first, then in a folder's."""
    name, files = words(architecture), list(weight_files(folder))
    of_file = [f for f in files if name in words(f.stem)]
    return of_file + [f for f in files if f not in of_file and name in words(str(f.parent.relative_to(folder)))]


def words(text: str) -> str:
    """A name with one spelling of what separates its words, so that mobilevit-xxs is mobilevit_xxs.

    Each end is marked: resnet18 is not in resnet18d.
    """
    return f"_{re.sub(r'[^a-z0-9]+', '_', text.lower()).strip('_')}_"


# ------------------------------------------------------------------------------------------ the hub


def download(architecture: str, repository: str | None) -> Path:
    """The published weights' file in the library's own cache, downloaded if need be; raises where there is no way.

    repository: the hub's, of timm's networks; None for torchvision's.
    """
    if repository is None:
        return from_torchvision(architecture)
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, "model.safetensors", local_files_only=True))
    except LocalEntryNotFoundError:
        reach(constants.ENDPOINT)
    return Path(hf_hub_download(repository, "model.safetensors", etag_timeout=SECONDS))


def from_torchvision(architecture: str) -> Path:
    """torchvision's weights, whose file name holds the first digits of their SHA-256."""
    import torchvision

    url = torchvision.models.get_model_weights(architecture).DEFAULT.url
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not path.is_file():
        reach(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = re.search(r"-([0-9a-f]+)\.", path.name)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix[1] if prefix else None, progress=False)
    return path


def reach(url: str) -> None:
    """Raise OSError, soon, where the server does not answer."""
    with contextlib.suppress(urllib.error.HTTPError):  # a refusal is an answer
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=SECONDS).close()


# ------------------------------------------------------------------------------------- into the network


def load(body: nn.Module, path: Path) -> None:
    """Puts the file's weights into the network, all but the last layer's and what the network says stays fresh.

    Raises UserError for a damaged file and for another network's.
    """
    state, own = adapted(body, read(path)), body.state_dict()
    wanted = {key: value for key, value in own.items() if not stays_fresh(body, key)}
    missing = [key for key in wanted if key not in state]
    wrong = [key for key in wanted if key in state and state[key].shape != own[key].shape]
    if missing or wrong:
        key = (missing or wrong)[0]
        shapes = f"no {key}" if missing else f"{key} is {[*state[key].shape]}, not {[*own[key].shape]}"
        raise UserError(
            f"{path}: weights of another network than {body.pretrained_cfg['architecture']} ({len(missing)} of "
            f"{len(wanted)} tensors missing, {len(wrong)} of another shape: {shapes})"
        )
    body.load_state_dict({key: state[key] for key in wanted}, strict=False)


def stays_fresh(body: nn.Module, key: str) -> bool:
    """Whether a tensor is not taken from the file: the last layer, and where the network differs from the published."""
    classifier, fresh = body.pretrained_cfg["classifier"], body.pretrained_cfg.get("fresh", ())
    names = (*([classifier] if isinstance(classifier, str) else classifier), *fresh)
    return key.startswith(tuple(f"{name}." for name in names)) or key.endswith("num_batches_tracked")


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by their names; UserError where it is damaged, too large or holds anything else.

    It takes LARGEST bytes at most, also of what it unpacks.
    """
    from safetensors.torch import load_file

    if (size := unpacked(path)) > LARGEST:
        raise UserError(f"{path}: {size / 2**30:,.1f} GiB of weights; more than {LARGEST / 2**30:.0f} are not read")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # the readers of damaged files raise whatever they stumble over, some without a word
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"{path}: not a file of weights, or damaged: {reason}") from None
    for key in WRAPPED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    items = content.items() if isinstance(content, dict) else ()
    if not items or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in items):
        raise UserError(f"{path}: holds no table of tensors by name")
    return {key.removeprefix("module."): value for key, value in items}


def unpacked(path: Path) -> int:
    """The bytes of a file, or of what it unpacks where it is an archive, as torch's are."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return sum(info.file_size for info in archive.infolist())
        return path.stat().st_size
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read, or damaged ({error})") from None


def adapted(body: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights for three channels and the side of their training, as those of one channel and the body's side."""
    from timm.layers import resample_abs_pos_embed
    from timm.models import adapt_input_conv

    firsts = body.pretrained_cfg["first_conv"]
    for first in [firsts] if isinstance(firsts, str) else firsts or ():
        key = f"{first}.weight"
        if key in state and state[key].ndim == 4 and state[key].shape[1] == 3:
            state[key] = adapt_input_conv(1, state[key])
    own, given = getattr(body, "pos_embed", None), state.get("pos_embed")
    prefix = getattr(body, "num_prefix_tokens", 0)
    if own is not None and given is not None and given.shape != own.shape and of_a_square(given, own, prefix):
        grid = body.patch_embed.grid_size
        state["pos_embed"] = resample_abs_pos_embed(given, grid, num_prefix_tokens=prefix)
    return state


def of_a_square(positions: Tensor, own: Tensor, prefix: int) -> bool:
    """Whether these are the embeddings, of the network's width, of a square image's positions after the prefix."""
    fits = positions.ndim == own.ndim == 3 and positions.shape[2] == own.shape[2] and positions.shape[1] > prefix
    return fits and math.isqrt(positions.shape[1] - prefix) ** 2 == positions.shape[1] - prefix
