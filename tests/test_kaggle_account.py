"""Whose account the Kaggle client would use, and what keeps it from its key."""

import codecs
import json

import pytest

import kaggle_account

PAIR = '{"username": "me", "key": "0123456789abcdef"}'


def test_without_any_file_there_is_no_name_and_no_problem(no_account):
    assert kaggle_account.user_name() is None and kaggle_account.key_file_problem() == ""


@pytest.mark.parametrize("place", ["KAGGLE_CONFIG_DIR", ".kaggle", ".config/kaggle", "XDG_CONFIG_HOME"])
def test_the_name_is_found_where_the_client_looks(no_account, monkeypatch, place):
    home = no_account.parent
    folder = {"KAGGLE_CONFIG_DIR": no_account, "XDG_CONFIG_HOME": home / "xdg/kaggle"}.get(place, home / place)
    if place != "KAGGLE_CONFIG_DIR":
        monkeypatch.delenv("KAGGLE_CONFIG_DIR")
    if place == "XDG_CONFIG_HOME":
        monkeypatch.setenv(place, str(folder.parent))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kaggle.json").write_text(PAIR)
    monkeypatch.setattr("sys.platform", "linux")
    assert kaggle_account.user_name() == "me"


def test_the_environment_goes_before_the_key_file_and_that_before_the_login(no_account, monkeypatch):
    (no_account.parent / ".kaggle").mkdir()
    login = {"username": "login", "refresh_token": "0123456789"}
    (no_account.parent / ".kaggle/credentials.json").write_text(json.dumps(login))
    assert kaggle_account.user_name() == "login"
    (no_account / "kaggle.json").write_text(PAIR)
    assert kaggle_account.user_name() == "me"
    monkeypatch.setenv("KAGGLE_USERNAME", "environment")
    assert kaggle_account.user_name() == "environment"


@pytest.mark.parametrize("place", ["variable", "file that a variable names", "access_token", "access_token.txt"])
def test_an_access_token_is_found_where_the_client_looks(no_account, monkeypatch, place):
    folder = no_account.parent / ".kaggle"
    folder.mkdir()
    (folder / "token").write_text("KGAT_0123\n")
    if place.startswith("access"):
        (folder / "token").rename(folder / place)
    else:
        monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_0123" if place == "variable" else str(folder / "token"))
    source = f"~/.kaggle/{place}" if place.startswith("access") else "KAGGLE_API_TOKEN"
    assert kaggle_account.access_token() == ("KGAT_0123", source)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (codecs.BOM_UTF8 + PAIR.encode(), "byte-order mark"),
        (codecs.BOM_UTF16_LE + PAIR.encode("utf-16-le"), "byte-order mark"),
        (codecs.BOM_UTF16_BE + PAIR.encode("utf-16-be"), "byte-order mark"),
        (PAIR.replace('"', "'").encode(), "single quotes"),
        (PAIR.replace('"', "'").replace("}", ",}").encode(), "single quotes"),
        (PAIR.replace('"', "'").replace("'me'", "me").encode(), "single quotes"),
        (PAIR.replace('"', "”").encode(), "curly quotes"),
        (PAIR.replace("}", ",}").encode(), "line 1"),
        (PAIR.replace("me", "mé").encode("latin-1"), "UTF-8"),
        (b"", "empty"),
        (b" \n", "empty"),
        (b"KGAT_0123456789abcdef\n", "access_token"),
        (b'["me", "0123456789abcdef"]', "username"),
        (b'{"username": "me"}', "no key"),
        (b'{"key": "0123456789abcdef"}', "no username"),
    ],
)
def test_a_key_file_that_the_client_cannot_use_is_called_what_it_is(no_account, content, words):
    (no_account / "kaggle.json").write_bytes(content)
    problem = kaggle_account.key_file_problem()
    assert words in problem and str(no_account / "kaggle.json") in problem and "0123456789abcdef" not in problem
    assert len(problem.splitlines()) == 1


def test_a_key_file_that_the_client_can_use_is_no_problem(no_account):
    (no_account / "kaggle.json").write_text(PAIR)
    assert kaggle_account.key_file_problem() == ""


@pytest.mark.parametrize("other", ["pair", "token", "login"])
def test_a_damaged_key_file_does_not_matter_to_a_client_with_another_key(no_account, monkeypatch, other):
    (no_account / "kaggle.json").write_text(PAIR.replace('"', "'"))
    if other == "pair":
        monkeypatch.setenv("KAGGLE_USERNAME", "me")
        monkeypatch.setenv("KAGGLE_KEY", "0123456789abcdef")
    elif other == "token":
        monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_0123")
    else:
        (no_account.parent / ".kaggle").mkdir()
        login = {"username": "me", "refresh_token": "0123456789"}
        (no_account.parent / ".kaggle/credentials.json").write_text(json.dumps(login))
    assert kaggle_account.key_file_problem() == ""


def test_a_user_without_a_home_folder_has_no_account(no_account, monkeypatch):
    monkeypatch.delenv("KAGGLE_CONFIG_DIR")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    assert kaggle_account.config_folder() is None
    assert kaggle_account.user_name() is None and kaggle_account.key_file_problem() == ""
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    assert kaggle_account.user_name() == "me"
