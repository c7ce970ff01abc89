"""Pushing: what is sent, what is refused before, and what each answer of Kaggle becomes."""

import os
import subprocess
import sys

import pytest

import build
import kaggle_account
import kernel_metadata
from remote import git_tags
from tests.conftest import ROOT
from tests.support.kaggle_server import KEY, TOKEN, USER
from tests.support.metadata import write_metadata
from tests.support.project import KERNEL, git
from tests.support.terminal import too_wide


def versions(remote) -> list[int]:
    return [pushed.version for pushed in git_tags.pushed_versions(remote.root, KERNEL)]


# What is sent


def test_a_push_sends_the_script_and_tags_the_commit(remote):
    printed = remote("push")
    (sent,) = remote.pushes
    assert sent["slug"] == KERNEL and sent["text"] == (remote.root / build.OUTPUT).read_text()
    assert sent["isPrivate"] and sent["machineShape"] == "NvidiaTeslaT4" and not sent.get("enableInternet")
    assert sent["sessionTimeoutSeconds"] == 42300
    assert "version 1 pushed" in printed and "tag kernel-v1" in printed and not too_wide(printed)
    assert git(remote.root, "rev-parse", "kernel-v1^{}") == git(remote.root, "rev-parse", "HEAD")
    assert git(remote.root, "status", "--porcelain") == ""
    assert "--set time_budget_hours=0.45, it would finish in time" in remote("push", "--hours", "0.5")
    assert remote.pushes[1]["sessionTimeoutSeconds"] == 1800
    assert versions(remote) == [2, 1]


def test_the_session_ends_a_quarter_hour_after_the_scripts_own_budget(remote):
    build.build(remote.root, remote.root / build.OUTPUT, "quick", ["time_budget_hours=1"])
    assert "warning" not in remote("push")
    assert remote.pushes[0]["sessionTimeoutSeconds"] == 4500


def test_the_key_is_not_printed_where_the_client_would_print_it(remote, new_client, monkeypatch):
    monkeypatch.setenv("VERBOSE", "1")
    new_client()
    remote.kaggle.fail("SaveKernel", 400, f"bad request with {KEY} in it")
    printed = remote("push", code=1)  # which asserts that the key is not in it
    assert "bad request with *** in it (Authorization: Basic ***)" in printed
    assert KEY not in git(remote.root, "log", "--all", "--format=%B")


def client_alone(remote) -> str:
    """`python build.py && kaggle kernels push`: what the client alone says of the recipe `quick`."""
    assert build.main(["--recipe", "quick"], remote.root) == 0
    command = [sys.executable, "-m", "kaggle", "kernels", "push"]
    done = subprocess.run(command, cwd=remote.root, env=os.environ, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_a_build_and_a_push_of_the_client_alone_are_enough(remote):
    assert "Kernel version 1 successfully pushed" in client_alone(remote)
    assert remote.pushes[0]["slug"] == KERNEL


def test_the_name_of_an_access_token_is_asked_of_the_client(remote, monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    kaggle_account.name_of_token.cache_clear()
    assert "Kernel version 1 successfully pushed" in client_alone(remote)
    assert remote.pushes[0]["slug"] == KERNEL


def test_a_token_that_has_no_name_leaves_the_placeholder(remote, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_stale")
    kaggle_account.name_of_token.cache_clear()
    assert build.main(["--recipe", "quick"], remote.root) == 0
    assert capfd.readouterr().out.splitlines()[-1].startswith("kaggle kernels push will fail: ")


def test_resume_adds_the_kernels_own_last_output(remote):
    assert "no earlier version" in remote.error("push", "--resume", code=2)
    remote("push")
    remote("push", "--resume")
    assert remote.pushes[-1]["kernelDataSources"] == [KERNEL]


def test_a_tag_that_is_taken_is_left_alone(remote):
    git(remote.root, "tag", "kernel-v1")
    assert "tag kernel-v1-" in remote("push")
    assert versions(remote) == [1]


def test_push_builds_a_recipe_that_is_named(remote):
    remote("push", "--recipe", "baseline", "--set", "epochs=3")
    assert "RECIPE = 'baseline'" in remote.pushes[0]["text"] and "epochs=3" in remote.pushes[0]["text"]
    assert git_tags.pushed_versions(remote.root, KERNEL)[0].overrides == ["epochs=3"]


def test_settings_without_a_recipe_are_refused(remote):
    assert "--set changes a recipe that is built first: name it with --recipe" in remote.error(
        "push", "--set", "epochs=1", code=2
    )
    assert not remote.pushes


# What is refused before anything is sent


def test_what_is_not_committed_is_refused_unless_allowed(remote):
    (remote.root / "src/main.py").write_text((remote.root / "src/main.py").read_text() + "# changed\n")
    assert "the tree has changed since it was built" in remote.error("push", code=2)
    build.build(remote.root, remote.root / build.OUTPUT, "quick", [])
    assert "not committed: src/main.py" in remote.error("push", code=2)
    assert remote.pushes == []
    remote("push", "--allow-dirty")
    assert git_tags.pushed_versions(remote.root, KERNEL)[0].dirty


def test_without_a_repository_a_push_is_refused(remote):
    (remote.root / ".git").rename(remote.root / "gone")
    build.build(remote.root, remote.root / build.OUTPUT, "quick", [])
    assert "no git commit" in remote.error("push", code=2)
    assert "no tag" in remote("push", "--allow-dirty")


@pytest.fixture
def of_another_owner(remote, monkeypatch):
    """A project whose repository git does not read, since it seems to belong to another user."""
    git_tags.warn_where_git_fails.cache_clear()
    for name, value in {"ASSUME_DIFFERENT_OWNER": "1", "CONFIG_NOSYSTEM": "1", "CONFIG_GLOBAL": os.devnull}.items():
        monkeypatch.setenv(f"GIT_TEST_{name}" if name.startswith("ASSUME") else f"GIT_{name}", value)
    build.build(remote.root, remote.root / build.OUTPUT, "quick", [])
    return remote


def test_a_repository_of_another_owner_is_refused_in_gits_words(of_another_owner):
    error = of_another_owner.error("push", code=2)
    assert "detected dubious ownership in repository" in error and "--add safe.directory" in error
    assert of_another_owner.pushes == []
    said = of_another_owner("push", "--allow-dirty")
    assert "this version has no tag. git: detected dubious ownership" in said


def test_that_the_pushed_versions_are_not_known_is_said_in_gits_words(of_another_owner, leaves):
    leaves("COMPLETE")
    of_another_owner("push", "--allow-dirty")
    said = of_another_owner("watch")
    assert "versions that were pushed are not known. git: detected dubious ownership" in said


def test_a_script_that_is_not_there_or_not_ours_is_refused(remote):
    script = remote.root / build.OUTPUT
    script.write_text("print('hello')\n")
    assert "not a script that build.py made" in remote.error("push", code=2)
    script.unlink()
    assert "python build.py" in remote.error("push", code=2)


def test_wrong_metadata_hours_and_names_are_refused(remote, new_client, monkeypatch):
    assert "at most 12 hours" in remote.error("push", "--hours", "13", code=2)
    write_metadata(remote.root, enable_internt=False)
    assert "did you mean 'enable_internet'" in remote.error("push", code=2)
    write_metadata(remote.root)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(remote.root / "nowhere"))
    assert "has no key" in remote.error("push", code=2)
    new_client()
    assert "has no key" in remote.error("push", "--owner", "tester", code=2)
    assert remote.kaggle.calls == []


@pytest.mark.parametrize(("content", "words"), [("\ufeff{}", "byte-order mark"), ("{'key': 'x'}", "single quotes")])
def test_a_key_file_that_the_client_cannot_read_is_called_that(
    remote, new_client, monkeypatch, tmp_path, content, words
):
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    (tmp_path / "kaggle.json").write_text(content, encoding="utf-8")
    new_client()
    assert words in remote.error("push", code=2)
    assert words in remote.error("push", "--owner", "tester", code=2)
    assert remote.kaggle.calls == []


def test_a_key_without_a_name_needs_the_owners(remote, monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_nameless")
    assert "--owner NAME" in remote.error("push", code=2)


def test_metadata_without_an_id_is_one_clear_line(remote):
    write_metadata(remote.root, id="gone")
    assert "id must be owner/" in remote.error("watch", code=2)


def test_a_user_without_a_name_can_push_with_a_key_from_the_environment(remote, nameless, tmp_path):
    """Nothing lands in a folder called "~", which is where the client would put it."""
    code = "import pathlib, sys; from remote.main import main; sys.exit(main(['push'], pathlib.Path(sys.argv[1])))"
    path = os.pathsep.join([nameless["PYTHONPATH"], str(ROOT)])
    env = nameless | {"KAGGLE_USERNAME": USER, "KAGGLE_KEY": KEY, "PYTHONPATH": path}
    env |= {key: os.environ[key] for key in ("KAGGLE_API_ENVIRONMENT", "http_proxy", "https_proxy", "no_proxy")}
    command = [sys.executable, "-c", code, remote.root]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert "version 1 pushed" in done.stdout, done.stderr
    assert not (ROOT / "~").exists() and not (tmp_path / "~").exists()


def test_a_client_that_cannot_start_is_said(remote, new_client, monkeypatch, tmp_path):
    (tmp_path / "kaggle.py").write_text("raise ImportError(\"No module named 'six'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    new_client()
    assert "pip install -r requirements.txt" in remote.error("push", code=2)


# What Kaggle answers


def test_a_refusal_that_comes_with_200_is_an_error(remote):
    remote.kaggle.refusal = "Kernel slug is taken"
    error = remote.error("push", code=1)
    assert "Kaggle refused it: Kernel slug is taken" in error and "Nothing runs" in error
    remote.kaggle.refusal = "Maximum weekly GPU quota of 30.00 hours has been reached."
    error = remote.error("push", code=1)
    assert "quota of 30.00 hours" in error and "renewed every week" in error
    assert versions(remote) == []


def test_a_rejected_source_is_named_although_the_version_runs(remote):
    kernel_metadata.add_dataset(remote.root, "tester/gone")
    error = remote.error("push", code=2)
    assert "rejected dataset tester/gone" in error and "version 1 runs without it" in error
    assert versions(remote) == [1]


@pytest.mark.parametrize(
    ("status", "plain", "code", "words"),
    [
        (401, False, 2, "does not accept the key"),
        (403, False, 2, "denied (403)"),
        (403, True, 2, "denied (403)"),
        (404, False, 2, "knows no such thing"),
        (429, True, 1, "429"),
        (500, False, 1, "500"),
    ],
)
def test_an_error_of_the_server_is_one_clear_line(remote, status, plain, code, words):
    remote.kaggle.fail("SaveKernel", status, "so it is", times=99, plain=plain)
    assert words in remote.error("push", code=code)
    assert remote.kaggle.kernels == {} and git(remote.root, "tag") == ""
    left = remote.kaggle.faults[0].times
    assert 99 - left == (2 if status in (429, 500) else 1)


def test_a_stale_token_that_masks_a_good_key_is_named(remote, new_client, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_0123456789abcdef")
    new_client()
    error = remote.error("push", code=2)
    assert "KAGGLE_API_TOKEN" in error and "KGAT_" not in error


def test_a_busy_server_is_asked_again_after_the_time_that_it_names(remote, new_client):
    new_client(pauses=[999.0])
    remote.kaggle.fail("SaveKernel", 429, "wait", headers={"Retry-After": "0"})
    assert "again in 0 s" in remote("push")
    assert versions(remote) == [1]


def test_a_push_whose_answer_was_lost_is_not_repeated(remote):
    remote.kaggle.fail("SaveKernel", 500, "lost", after=True)
    assert "version 1 pushed" in remote("push")
    assert len(remote.pushes) == 1


def test_a_server_that_does_not_answer_is_given_up(remote, new_client):
    new_client(limits={"newest": 0.2})
    remote.kaggle.fail("GetKernel", hang=30, times=9)
    assert "no answer in 0 s" in remote.error("push", code=1)


def test_a_server_that_is_not_there_is_said(remote, new_client, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    new_client()
    assert "out of reach" in remote.error("push", code=1)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pusch", "pusch: no such command; did you mean push?\n`python -m remote --help`"),
        ("status", "it is called watch"),
        ("baseline", "it is a recipe: write push --recipe baseline"),
        ("push baseline", "baseline: not known to push; write --recipe baseline\n"),
        ("go --epochs 3", "write --set epochs=3"),
        ("watch --epochs 3", "`push` takes --set epochs=3"),
        ("push --force", "--force: not known to push\n"),
        ("watch --wait x", "argument --wait: invalid float value"),
    ],
)
def test_a_wrong_word_on_the_command_line_leads_to_the_right_one(remote, capfd, command, words):
    with pytest.raises(SystemExit, match="2"):
        remote(*command.split(" "))
    error = capfd.readouterr().err
    assert error.startswith("error: ") and words in error and len(error.splitlines()) == 2, error
