"""A W&B server on this machine: enough of its API for the real client to upload runs, resumed ones and artifacts.

It keeps what arrives; it checks nothing. Runs have the lines of history that were sent before.
"""

import contextlib
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

KEY = "a" * 40


class WandbServer(ThreadingHTTPServer):
    """files: name → content of each file that was uploaded; history: run id → its lines."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.history = {}, {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def place(self, name: str) -> dict:
        """Where the client is to put a file."""
        return {
            "id": "F",
            "name": name,
            "displayName": name,
            "uploadUrl": f"{self.address}/{name}",
            "uploadHeaders": [],
        }

    def add_history(self, run: str, offset: int, lines: list[str]) -> None:
        """Adds lines of a run's history, which replace those from the offset on."""
        self.history[run] = self.history.get(run, [])[:offset] + list(map(json.loads, lines))

    def answer(self, name: str, values: dict) -> dict:
        """The answer to a GraphQL operation."""
        values = values | values.get("input", {})
        project = {"id": "P", "name": values.get("project"), "entity": {"id": "E", "name": "someone"}}
        if name in ("UpsertBucket", "RunResumeStatus"):
            lines = self.history.setdefault(values["name"], []) if name == "UpsertBucket" else None
            return self.describe_run(name, values["name"], project, lines)
        manifest = {"id": "M", "file": self.place("manifest")}
        edges = [
            {"node": self.place(f["name"]) | {"storagePath": "", "artifact": {"id": f["artifactID"]}}}
            for f in values.get("artifactFiles", ())
        ]
        artifact = {"id": str(values.get("digest") or values.get("artifactID")), "state": "PENDING", "digest": ""}
        run_files = [self.place(file) for file in values.get("files") or ()]
        answers = {
            "Viewer": {"viewer": {"id": "U", "entity": "someone", "flags": "{}", "teams": {"edges": []}}},
            "CreateRunFiles": {"createRunFiles": {"runID": "B", "uploadHeaders": [], "files": run_files}},
            "CreateArtifact": {"createArtifact": {"artifact": artifact | {"artifactSequence": {"id": "S"}}}},
            "CreateArtifactManifest": {"createArtifactManifest": {"artifactManifest": manifest}},
            "UpdateArtifactManifest": {"updateArtifactManifest": {"artifactManifest": manifest}},
            "CreateArtifactFiles": {"createArtifactFiles": {"files": {"edges": edges}}},
            "CommitArtifact": {"commitArtifact": {"artifact": artifact}},
        }
        return answers.get(name, {"serverInfo": {"features": []}})

    def describe_run(self, name: str, run: str, project: dict, lines: list | None) -> dict:
        """What is known of a run, for the client that creates or resumes it."""
        known = self.history.get(run)
        bucket = {"id": "B", "name": run, "displayName": run, "config": "{}", "project": project, "tags": []}
        bucket |= {"historyLineCount": len(known or ()), "logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]"}
        bucket |= {"historyTail": json.dumps([json.dumps(line) for line in (known or [])[-1:]]), "summaryMetrics": "{}"}
        bucket |= {"wandbConfig": '{"t": 1}'}
        if name == "UpsertBucket":
            return {"upsertBucket": {"bucket": bucket, "inserted": not lines}}
        return {"model": project | {"bucket": bucket if known is not None else None}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        """Says nothing."""

    def content(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def reply(self, answer: dict) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.reply({})

    def do_PUT(self) -> None:
        self.server.files[unquote(self.path).strip("/")] = self.content()
        self.reply({})

    def do_POST(self) -> None:
        content = self.content()
        if self.path.endswith("/file_stream"):
            part = (json.loads(content).get("files") or {}).get("wandb-history.jsonl")
            if part:
                self.server.add_history(self.path.split("/")[-2], part["offset"], part["content"])
            self.reply({})
        elif self.path == "/graphql":
            asked = json.loads(content)
            self.reply({"data": self.server.answer(asked.get("operationName", ""), asked.get("variables") or {})})
        else:
            self.reply({})


@contextlib.contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """A server, for the time of the block."""
    with WandbServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
