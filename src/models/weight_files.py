"""Reads weights files of others: safetensors and torch's, under any ending, as tables of tensors by name.

No file can run code: only tensors and plain values are read. Errors are in the kit's own words, since torch's advise to
load without that protection.
"""

import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from src.errors import UserError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".t7", ".th", ".tar")  # .tar: of .pth.tar
MAX_BYTES = 4 * 2**30  # a network of a billion weights
MAX_DEPTH = 8  # of tables in tables
REMEDY = "save the state_dict alone: torch.save(net.state_dict(), FILE)"
MERGE = "save them as one file: model.save_pretrained(FOLDER, max_shard_size='99GB')"
PART = re.compile(r"-(\d{5})-of-(\d{5})\.")  # as Hugging Face's libraries name the parts
OTHERS = (  # the first bytes of files that are often saved under the name of weights
    (rb"\s*version https://git-lfs", "a Git LFS pointer, not the weights themselves; download them (git lfs pull)"),
    (rb"/?(\.\./)*(\.git/)?annex/objects/", "a git-annex pointer, not the weights themselves; download them"),
    (rb"\s*<", "a web page (HTML or XML), not weights; open the link in a browser, or download the file itself"),
    (rb"\x89HDF", "a file of Keras (HDF5); only torch's and safetensors files are read"),
    (rb"\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ", "a compressed file; unpack it"),
    (rb"(?s).{257}ustar", "a tar archive; unpack it and name the file inside"),
    (rb"GGUF", "a GGUF file; only torch's and safetensors files are read"),
)


@dataclass(frozen=True)
class WeightsFile:
    """tables: tensors by name, under the keys that lead to them ("state_dict"; "" is the top level).

    metadata: texts of a safetensors file. is_optimizer: whether an optimizer's state is there.
    """

    tables: dict[str, dict[str, Tensor]]
    metadata: dict[str, str]
    is_optimizer: bool = False


def is_weights_file(path: Path) -> bool:
    """Whether the name has the ending of a weights file; macOS's companions of files are none."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith("._") and "__MACOSX" not in path.parts


def read_weights(path: Path) -> WeightsFile:
    """The content of a weights file; UserError if it is damaged, too large, no weights, or holds pickled objects.

    Neither the file nor its unpacked content may exceed MAX_BYTES.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
        if what := kind_of_other_file(head) or kind_of_part(path.name):
            raise UserError(f"{path}: {what}")
        require_size_and_form(path, is_zip=head.startswith(b"PK") and zipfile.is_zipfile(path))
        content, metadata = load_safetensors(path) if is_safetensors(head) else (load_pickled(path, head), {})
        tables = tables_in(content)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception:  # the readers raise all kinds of errors for damaged files
        raise UserError(f"{path}: not a file of weights, or damaged or cut short; download it again") from None
    parts = [content, *content.values()] if isinstance(content, dict) else []
    is_optimizer = any(isinstance(part, dict) and part.keys() >= {"state", "param_groups"} for part in parts)
    if not tables and not is_optimizer:
        raise UserError(f"{path}: holds no table of tensors by name; {REMEDY}")
    return WeightsFile(tables, metadata, is_optimizer)


def kind_of_other_file(head: bytes) -> str:
    """What a file is that begins so, if it is surely not weights; else nothing."""
    begin = head.removeprefix(b"\xef\xbb\xbf")
    if not begin:
        return "an empty file; download it again"
    for pattern, words in OTHERS:
        if re.match(pattern, begin):
            return words
    if begin.lstrip().startswith(b"{") and b'"weight_map"' in begin:
        return f"the index of weights in several files, not the weights; {MERGE}"
    text = begin.decode("utf-8", "replace").rstrip("\ufffd")  # the last character may be cut
    if all((sign.isprintable() and sign != "\ufffd") or sign in "\r\n\t" for sign in text):
        return f"a text file, not weights: it begins with {' '.join(text.split())[:60]!a}"
    return ""


def kind_of_part(name: str) -> str:
    """Which part of weights in several files a file is by its name; nothing for a whole one."""
    found = PART.search(name)
    return f"part {int(found[1])} of weights in {int(found[2])} files; {MERGE}" if found and int(found[2]) > 1 else ""


def require_size_and_form(path: Path, is_zip: bool) -> None:
    """Raises UserError for more than MAX_BYTES, also unpacked, and for a zip archive that torch.save did not write."""
    infos = zipfile.ZipFile(path).infolist() if is_zip else []
    size = sum(info.file_size for info in infos) if is_zip else path.stat().st_size
    if size > MAX_BYTES:
        raise UserError(f"{path}: {size / 2**30:,.1f} GiB of weights; at most {MAX_BYTES / 2**30:.0f} are read")
    names = {info.filename.rpartition("/")[2] for info in infos}
    if "constants.pkl" in names:
        raise UserError(f"{path}: holds a TorchScript program; {REMEDY}")
    if is_zip and "data.pkl" not in names:
        raise UserError(f"{path}: a zip archive that holds no weights itself; unpack it and name the file inside")


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins as safetensors: the length of a JSON object, and the object."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**30


def load_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118


def load_pickled(path: Path, head: bytes) -> object:
    """The content of torch's file; UserError that names a pickled object that could run code."""
    try:
        # As a stream: by a path, torch chooses the reader by the ending.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, "cpu", weights_only=True)
    except Exception as error:
        if not (what := refused_object(str(error), head)):
            raise
    raise UserError(f"{path}: {what}; {REMEDY}")


def refused_object(message: str, head: bytes) -> str:
    """What torch's reader has refused, in the kit's words; nothing where the file is only damaged."""
    if found := re.search(r"GLOBAL ([\w.]+)", message):
        article = "an" if found[1][0] in "aeiouAEIOU" else "a"
        return f"holds {article} {found[1]}, a pickled object, and reading it could run code"
    if re.search("Can only (build|create)|unrecognized function|must be imported to load", message):
        return "holds a pickled object, and reading it could run code"
    if "Unsupported operand" in message and re.match(rb"PK|\x80[\3-\5]", head):
        return "is pickled by another protocol than torch.save's, and reading it could run code"
    return ""


def tables_in(content: object) -> dict[str, dict[str, Tensor]]:
    """All tables of tensors by name in nested tables and lists, by the keys that lead to them, outermost first.

    Values that are no tensors are left out.
    """
    found, seen, waiting = {}, set(), [("", content, 0)] if isinstance(content, dict | list | tuple) else []
    for path, part, depth in waiting:  # the list grows by the nested ones
        if id(part) in seen or depth > MAX_DEPTH:
            continue
        seen.add(id(part))
        items = list(part.items()) if isinstance(part, dict) else list(enumerate(part))
        table = {key: value.detach() for key, value in items if isinstance(key, str) and is_plain(value)}
        if table:
            found[path] = table
        nested = [(key, value) for key, value in items if isinstance(value, dict | list | tuple)]
        waiting += [(f"{path}.{key}".removeprefix("."), value, depth + 1) for key, value in nested]
    return found


def is_plain(value: object) -> bool:
    """Whether it is a tensor with numbers in memory: neither sparse, quantized nor without content."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not (value.is_quantized or value.is_meta)
