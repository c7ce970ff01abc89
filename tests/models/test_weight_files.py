"""Reading weights files: every ending and form, what other files are called, and that no file can run code."""

import argparse
import io
import json
import os
import pathlib
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from src.errors import UserError
from src.models import weight_files
from src.models.weight_files import is_weights_file, read_weights

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def whole(form: str) -> bytes:
    """A good file's bytes."""
    if form == "safetensors":
        return safetensors.torch.save(STATE)
    buffer = io.BytesIO()
    torch.save(STATE, buffer, _use_new_zipfile_serialization=form != "old")
    return buffer.getvalue()


def refusal(path: Path, content: bytes | object, **options) -> str:
    """What the reader says of a file, without its path: one line, and no advice to load it without protection."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path, **options)
    with pytest.raises(UserError) as error:
        read_weights(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ") and len(text.splitlines()) == 1
    assert not any(word in text for word in ("weights_only", "allowlist", "trust", "safe_globals", "torch.load"))
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("ending", ["safetensors", "pth", "pt", "bin", "ckpt", "t7", "th", "pth.tar", "PTH"])
@pytest.mark.parametrize("form", ["safetensors", "new", "old"])
def test_every_form_is_read_under_every_ending(tmp_path, ending, form):
    path = tmp_path / f"w.{ending}"
    path.write_bytes(whole(form))
    assert is_weights_file(path)
    table = read_weights(path).tables[""]
    assert table.keys() == STATE.keys() and all(torch.equal(table[key], STATE[key]) for key in STATE)


def test_other_files_and_the_companions_that_macos_writes_are_no_weights():
    names = ("w.csv", "w.json", "w.tar.gz", "._w.pth", "__MACOSX/w.pth", "w.pth.part")
    assert not any(is_weights_file(Path(name)) for name in names)


def test_all_tables_are_found_and_plain_values_are_left_out(tmp_path):
    loop = {"again": dict(STATE)}
    loop["self"] = loop
    content = dict(STATE) | {
        "epoch": 3,
        "best": None,
        "any key": {"ema": STATE, "lr": 0.1},
        "list": [1, STATE | {"b": 2}],
    }
    sparse = {"sparse": torch.eye(2).to_sparse(), "empty": torch.empty(2, device="meta")}
    torch.save(
        content | {"loop": loop, "odd": sparse, "optimizer": {"state": {0: {"exp_avg": STATE["a.bias"]}}}},
        tmp_path / "w.pt",
    )
    tables = read_weights(tmp_path / "w.pt").tables
    assert list(tables) == ["", "any key.ema", "list.1", "loop.again", "optimizer.state.0"]
    assert all(table.keys() == STATE.keys() for name, table in tables.items() if name != "optimizer.state.0")


def test_the_metadata_of_safetensors_is_read(tmp_path):
    safetensors.torch.save_file(STATE, tmp_path / "w.safetensors", {"network": "x"})
    assert read_weights(tmp_path / "w.safetensors").metadata == {"network": "x"}


# ------------------------------------------------------------------------------------------ pickled objects


class Trap:
    """Unpickling it makes a folder, which shows that code ran."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("form", ["zip", "old", "bare", "text"])
def test_a_file_cannot_run_code(tmp_path, name, form):
    content = {"a.weight": torch.ones(2), "trap": Trap(tmp_path / "ran")}
    if form in ("bare", "text"):
        refusal(tmp_path / name, pickle.dumps(content, protocol=0 if form == "text" else None))
    else:
        assert "mkdir" in refusal(tmp_path / name, content, _use_new_zipfile_serialization=form == "zip")
    assert not (tmp_path / "ran").exists()
    if form == "old" and name == "w.pth":  # without the guard, the code does run
        torch.load(tmp_path / name, weights_only=False)
        assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (argparse.Namespace(lr=1), "holds an argparse.Namespace, "),
        (pathlib.PurePosixPath("x"), "holds a pathlib"),
        (np.float64(0.9), "holds a numpy."),
        (nn.Linear(2, 2), "holds a torch.nn.modules.linear.Linear, "),
        (Trap, "holds a "),
        (getattr, "holds a getattr, "),
    ],
)
@pytest.mark.parametrize("new", [True, False])
def test_a_pickled_object_is_named_with_the_way_out(tmp_path, value, words, new):
    content = {"state_dict": STATE, "extra": {"deep": value}}
    text = refusal(tmp_path / "w.pth", content, _use_new_zipfile_serialization=new)
    assert text.startswith(words) and "save the state_dict alone: torch.save(net.state_dict(), FILE)" in text


def test_another_pickle_protocol_and_a_program_get_the_same_way_out(tmp_path, recwarn):
    with zipfile.ZipFile(tmp_path / "program.pt", "w") as archive:
        archive.writestr("w/data.pkl", b"")
        archive.writestr("w/constants.pkl", b"")
    cases = [
        refusal(tmp_path / "w.pt", argparse.Namespace(), pickle_protocol=4),
        refusal(tmp_path / "w.pt", pickle.dumps(STATE)),
    ]
    assert all("another protocol" in text and "save the state_dict alone" in text for text in cases)
    program = (tmp_path / "program.pt").read_bytes()
    assert refusal(tmp_path / "w.pt", program).startswith("holds a TorchScript program; save the state_dict alone")
    assert not recwarn.list


# ------------------------------------------------------------------------------------- what else files can be


def packed(kind: str) -> bytes:
    """An archive with a file of weights in it."""
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("w.pth", whole("new"))
    else:
        with tarfile.open(fileobj=buffer, mode=kind) as archive:
            archive.add(__file__)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1f\nsize 7\n", "a Git LFS pointer"),
        (b"version https://git-lfs.github.com/spec/v1\r\noid sha256:1f\r\nsize 7\r\n", "a Git LFS pointer"),
        (b"/annex/objects/SHA256E-s7--1f.pth\n", "a git-annex pointer"),
        (b"<!DOCTYPE html><html>", "a web page (HTML"),
        (b"\n  <html lang='en'>", "a web page (HTML"),
        (b"\xef\xbb\xbf<!-- x --><HTML>" + b"\xe9" * 600, "a web page (HTML"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "a web page (HTML or XML)"),
        (b"Entry not found\n", "a text file, not weights: it begins with 'Entry not found'"),
        (b'{"error": "Invalid username or password."}', "a text file, not weights"),
        ("é".encode() * 300, "a text file, not weights"),
        (b"", "an empty file"),
        (b"\x89HDF\r\n\x1a\n\0", "a file of Keras"),
        (packed("zip"), "a zip archive that holds no weights itself; unpack it"),
        (packed("w:"), "a tar archive; unpack it"),
        (packed("w:gz"), "a compressed file; unpack it"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",  # packed files hold the time
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_that_is_something_else_is_called_that(tmp_path, name, content, words):
    assert refusal(tmp_path / name, content).startswith(words)


INDEX = {"metadata": {"total_size": 9}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["model.safetensors.index.json", "pytorch_model.bin.index.json", "w.safetensors"])
def test_the_index_of_sharded_weights_is_called_that(tmp_path, name, indent):
    (tmp_path / name).write_text(json.dumps(INDEX, indent=indent))
    with pytest.raises(UserError, match=rf"{name}: the index of weights in several files.*save them as one file") as e:
        read_weights(tmp_path / name)
    assert len(str(e.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["model-00002-of-00003.safetensors", "pytorch_model-00002-of-00003.bin"])
def test_a_part_of_sharded_weights_is_called_that_and_a_single_one_is_whole(tmp_path, name):
    torch.save({"a": torch.ones(2)}, tmp_path / name)
    with pytest.raises(UserError, match=rf"{name}: part 2 of weights in 3 files; save them as one file"):
        read_weights(tmp_path / name)
    whole = (tmp_path / name).rename(tmp_path / name.replace("00002-of-00003", "00001-of-00001"))
    assert read_weights(whole).tables[""].keys() == {"a"}


@pytest.mark.parametrize(("name", "form"), [("w.safetensors", "safetensors"), ("w.pth", "new"), ("w.pth", "old")])
def test_a_damaged_file_is_one_clear_line(tmp_path, name, form):
    """Zeros, noise after any byte, and a good file cut short at many places."""
    content, noise = whole(form), np.random.default_rng(0).bytes(5000)
    starts = [bytes([i]) + noise[:50] for i in range(0, 256, 5)]
    for wrong in (
        b"\0" * 4096,
        noise,
        *starts,
        *(content[: len(content) * i // 25] for i in range(1, 25)),
        content[:-1],
    ):
        refusal(tmp_path / name, wrong)


@pytest.mark.parametrize("content", [[torch.ones(2)], {}, {"a": 1, "b": "x"}, {0: torch.ones(2)}, 3, torch.ones(2)])
def test_a_file_without_a_table_of_tensors_is_refused(tmp_path, content):
    assert refusal(tmp_path / "w.pth", content).startswith("holds no table of tensors by name; save the state_dict")


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(tmp_path)


def test_a_file_that_unpacks_to_too_many_bytes_is_refused_unread(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**20))
    monkeypatch.setattr(weight_files, "MAX_BYTES", 2**19)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(UserError, match="at most 0 are read"):
        read_weights(tmp_path / "bomb.pth")
