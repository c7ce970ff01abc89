"""One server and one client for all tests of the round trip: a client takes a second to start."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from remote.client import Client
from remote.main import main
from tests.support.kaggle_server import KEY, SECRET_VARIABLES, Kaggle
from tests.support.project import small_project


@dataclass
class Project:
    """A project, the server that it talks to, and its commands."""

    root: Path
    kaggle: Kaggle
    client: Client
    capture: object

    def __call__(self, *command: str, code: int = 0) -> str:
        """Runs a command that must end with `code`; returns what it printed, which never holds the key."""
        found = main(list(command), self.root, self.client)
        out, err = self.capture.readouterr()
        assert found == code, out + err
        assert KEY not in out + err and "Traceback (most recent call last)" not in err.split("\nerror: ")[-1]
        return out + err

    def error(self, *command: str, code: int) -> str:
        """The error with which a command ends: one line or two."""
        printed = "\n" + self(*command, code=code)
        lines = printed.split("\nerror: ")[-1].strip().splitlines()
        assert "\nerror: " in printed and len(lines) <= 2 and all(len(line) < 300 for line in lines), printed
        return " ".join(lines)

    @property
    def pushes(self) -> list[dict]:
        return [body for name, body in self.kaggle.calls if name == "SaveKernel"]


@pytest.fixture(scope="package")
def server(tmp_path_factory, faces):
    """A server, and an environment that leads clients to it."""
    place = tmp_path_factory.mktemp("kaggle")
    with Kaggle(place, faces) as kaggle, pytest.MonkeyPatch.context() as patch:
        for name in SECRET_VARIABLES:
            patch.delenv(name, raising=False)
        for name, value in kaggle.environment(place / "home").items():
            patch.setenv(name, value)
        yield kaggle


@pytest.fixture(scope="package")
def client(server):
    client = Client(pauses=[0.0])
    yield client
    client.close()


@pytest.fixture(scope="package")
def built_project(tmp_path_factory) -> Path:
    return small_project(tmp_path_factory.mktemp("built") / "project")


@pytest.fixture
def remote(server, client, built_project, tmp_path, capfd):
    """A copy of the built project; its kernels are queued first, then run and never finish."""
    server.reset()
    yield Project(shutil.copytree(built_project, tmp_path / "project"), server, client, capfd)
    assert server.defects == server.foreign == []


@pytest.fixture
def new_client(remote):
    """Returns a function that gives the project a client of its own, which reads the environment again."""
    made = []

    def make(**settings) -> None:
        remote.client = Client(**{"pauses": [0.0]} | settings)
        made.append(remote.client)

    yield make
    for client in made:
        client.close()


@pytest.fixture
def leaves(remote, tmp_path):
    """Returns a function that lets the kernel have these states, one a call, and leave a folder and log lines."""

    def prepare(*states: str, events: list[tuple[str, str]] = (), working: Path | None = None) -> Path:
        working = working or tmp_path / "working"
        working.mkdir(exist_ok=True)
        logged = [{"stream_name": stream, "time": 1.0, "data": data} for stream, data in events]
        remote.kaggle.prepare(list(states), working, logged)
        return working

    return prepare


def log_text(*events: tuple[str, str]) -> str:
    """A kernel's log, as the client gives it, from (stream, data)."""
    return json.dumps([{"stream_name": stream, "time": 0.1, "data": data} for stream, data in events])
