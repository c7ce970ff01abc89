"""Pretrained weights for a network: from a file, or from the hub where it can be reached.

No file can run code: only tensors are read. The first layer's weights are summed over the three color channels, which
keeps its response to gray images. The last layer has other classes and keeps its initial weights.
"""

import contextlib
import re
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from src.bounded_io import list_files
from src.errors import UserError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
WRAPPER_KEYS = ("state_dict", "model", "state_dict_ema", "model_state_dict")  # where training scripts keep the weights
MAX_BYTES = 4 * 2**30  # a network of a billion weights
HUB_TIMEOUT = 10  # seconds; a kernel without internet must not hang before its first epoch


def find_weights(wish: str, published: dict, folder: Path) -> tuple[Path | None, str]:
    """The weights file for a network, and where it comes from; None with the reason if there is none.

    wish: "auto" (a file below `folder` with the architecture in its name, else the hub's), or a file or folder.
    published: the network's `pretrained_cfg`, with "architecture" and, for timm's networks, "hf_hub_id". Raises
    UserError if a named file does not exist.
    """
    architecture = published["architecture"]
    if wish != "auto":
        return named_file(Path(wish), architecture), "as given"
    found = files_for(architecture, folder)
    if found:
        return found[0], f"first of {len(found)} files with its name" if len(found) > 1 else "by its name"
    try:
        return download(architecture, published.get("hf_hub_id")), "from the hub"
    except Exception as error:  # the hub, its client and the network can raise anything, and none may stop a run
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        return None, f"no file below {folder} has its name, and the hub cannot be used ({reason})"


def named_file(path: Path, architecture: str) -> Path:
    """The file that `path` names, or the one in that folder for the architecture; UserError if that is unclear."""
    if path.is_file():
        return path
    matching = files_for(architecture, path)
    found = matching or (list(weight_files(path)) if path.is_dir() else [])
    if len(found) == 1 or matching:
        return found[0]
    what = f"{len(found)} weight files, none named {architecture}" if found else "no weight file"
    raise UserError(f"pretrained={path}: {what} there; name a file ({', '.join(SUFFIXES)})")


def weight_files(folder: Path) -> Iterator[Path]:
    """The weight files below a folder, in the order of their paths, without those that a run of the kit wrote.

    A run's weights were trained on this data set, perhaps on the validation fold.
    """
    for file in (file for file in list_files(folder) if file.suffix in SUFFIXES):
        if not (file.parent.parent.parent / "run.json").exists() and not (file.parent / "history.csv").exists():
            yield file


def files_for(architecture: str, folder: Path) -> list[Path]:
    """The weight files with the architecture's name: first those with it in their own name, then in a folder's."""
    name, files = normalized(architecture), list(weight_files(folder)) if folder.is_dir() else []
    of_file = [f for f in files if name in normalized(f.stem)]
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


# ------------------------------------------------------------------------------------- into the network


def load_weights(body: nn.Module, path: Path) -> None:
    """Loads the file's weights into the network, except the layers that keep their initial weights.

    Raises UserError for a damaged file and for another network's weights.
    """
    state, own = adapt(body, read_tensors(path)), body.state_dict()
    wanted = {key: value for key, value in own.items() if not keeps_initial_weights(body, key)}
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


def keeps_initial_weights(body: nn.Module, key: str) -> bool:
    """Whether a tensor is not loaded: the last layer's, and layers that the published network does not have."""
    classifier, others = body.pretrained_cfg["classifier"], body.pretrained_cfg.get("not_pretrained", ())
    names = (*([classifier] if isinstance(classifier, str) else classifier), *others)
    return key.startswith(tuple(f"{name}." for name in names)) or key.endswith("num_batches_tracked")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name; UserError if it is damaged, too large or holds anything else.

    Neither the file nor its unpacked content may exceed MAX_BYTES.
    """
    from safetensors.torch import load_file

    try:
        if (size := unpacked_size(path)) <= MAX_BYTES:
            content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # the readers raise all kinds of errors for damaged files, some without a text
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"{path}: not a file of weights, or damaged: {reason}") from None
    if size > MAX_BYTES:
        raise UserError(f"{path}: {size / 2**30:,.1f} GiB of weights; at most {MAX_BYTES / 2**30:.0f} are read")
    for key in WRAPPER_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    items = content.items() if isinstance(content, dict) else ()
    if not items or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in items):
        raise UserError(f"{path}: holds no table of tensors by name")
    return {key.removeprefix("module."): value for key, value in items}


def unpacked_size(path: Path) -> int:
    """The bytes of a file, or of its content if it is a zip archive, as torch's files are."""
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return sum(info.file_size for info in archive.infolist())


def adapt(body: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights for one input channel instead of three, and for the body's image size."""
    from timm.layers import resample_abs_pos_embed
    from timm.models import adapt_input_conv

    firsts = body.pretrained_cfg["first_conv"]
    for first in [firsts] if isinstance(firsts, str) else firsts or ():
        key = f"{first}.weight"
        if key in state and state[key].ndim == 4 and state[key].shape[1] == 3:
            state[key] = adapt_input_conv(1, state[key])
    own, given = getattr(body, "pos_embed", None), state.get("pos_embed")
    if own is not None and given is not None and given.shape != own.shape:
        # What cannot be resampled keeps its shape, and `load_weights` refuses it.
        with contextlib.suppress(RuntimeError, IndexError, AttributeError):
            prefix = getattr(body, "num_prefix_tokens", 0)
            state["pos_embed"] = resample_abs_pos_embed(given, body.patch_embed.grid_size, num_prefix_tokens=prefix)
    return state
