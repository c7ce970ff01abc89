"""A Kaggle on this machine: enough of its API for the real `kaggle` client, and kernels that really run.

The client is not changed: KAGGLE_API_ENVIRONMENT=LOCALHOST makes it call http://localhost, and a proxy variable leads
every call here, to any free port. A pushed script runs as in a kernel: alone in a folder that cannot be written to,
with KAGGLE_KERNEL_RUN_TYPE, its inputs and an output folder. `fail` and the attributes of `Kaggle` make it go wrong.
"""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from base64 import b64encode
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from kernel_metadata import COMPETITION

USER, KEY, TOKEN = "tester", "feedfacecafe0123456789abcdef5eed", "KGAT_feedfacecafe0123456789abcdef5eed"
AUTHORIZATIONS = ("Basic " + b64encode(f"{USER}:{KEY}".encode()).decode(), f"Bearer {TOKEN}")
PAGE = 3  # files a page, fewer than any run leaves: pages are always followed
SECRET_VARIABLES = ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "VERBOSE", "VERBOSE_OUTPUT")


@dataclass
class Fault:
    """What goes wrong with the next `times` calls whose name matches: a status, silence, or half an answer."""

    match: str
    status: int = 0
    message: str = ""
    times: int = 1
    headers: dict = field(default_factory=dict)
    plain: bool = False  # a page of text, not the API's JSON: what a machine in between answers
    after: bool = False  # the call takes effect, and only then its answer is lost
    hang: float = 0.0
    cut: str = ""  # "told": shorter than Content-Length says; "silent": without a Content-Length


class Version:
    """One pushed version of a kernel: running, over, or one that only has the prepared states."""

    def __init__(self, kaggle: "Kaggle", request: dict, number: int):
        self.kaggle, self.request, self.number = kaggle, request, number
        self.folder = kaggle.folder / "kernels" / request["slug"] / str(number)
        self.working = self.folder / "working"
        self.states, self.events = list(kaggle.states), list(kaggle.events)
        self.process, self.started = None, time.monotonic()
        self.working.mkdir(parents=True)
        if kaggle.runs_kernels:
            self.states = ["QUEUED"]
            self.start()
        elif kaggle.working:
            shutil.copytree(kaggle.working, self.working, dirs_exist_ok=True)

    def start(self) -> None:
        """Starts the script as a kernel would."""
        source = self.folder / "src"
        source.mkdir()
        (source / "script.py").write_text(self.request["text"], encoding="utf-8")
        source.chmod(0o555)
        inputs = self.mount()
        cleared = ("KAGGLE_", "PYTHON", "http_proxy", "https_proxy", "no_proxy", "FER_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(cleared)}
        (self.folder / "tmp").mkdir()
        kernel = {"KAGGLE_KERNEL_RUN_TYPE": "Batch", "FER_INPUT": str(inputs), "FER_OUTPUT": str(self.working)}
        kernel |= {"TMPDIR": str(self.folder / "tmp"), "PYTHONUNBUFFERED": "1", "HOME": str(self.folder / "tmp")}
        kernel |= {"OMP_NUM_THREADS": "1"}  # threads that wait for each other are slow on a busy machine
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
        command = [sys.executable, str(source / "script.py")]
        self.process = subprocess.Popen(command, cwd=self.working, env=kept | kernel, **pipes)
        for name in ("stdout", "stderr"):
            threading.Thread(target=self.listen, args=(name, getattr(self.process, name)), daemon=True).start()

    def mount(self) -> Path:
        """The inputs, where kernels have had them since 2026."""
        inputs = self.folder / "input"
        sources = [(f"competitions/{name}", self.kaggle.faces) for name in self.request["competitionDataSources"]]
        sources += [(f"datasets/{n}", self.kaggle.datasets[n]) for n in self.request["datasetDataSources"]]
        kernels = self.request["kernelDataSources"]
        sources += [(f"notebooks/{name}", self.kaggle.kernels[name][-1].working) for name in kernels]
        for name, target in sources:
            (inputs / name).parent.mkdir(parents=True, exist_ok=True)
            (inputs / name).symlink_to(target)
        return inputs

    def listen(self, name: str, stream) -> None:
        for line in stream:
            self.events.append({"stream_name": name, "time": round(time.monotonic() - self.started, 3), "data": line})

    @property
    def status(self) -> str:
        """The state as the API names it. The first call finds the kernel in the queue."""
        if len(self.states) > 1 or (self.process and self.states):
            return self.states.pop(0)
        if not self.process:
            return self.states[0]
        code = self.process.poll()
        return "RUNNING" if code is None else "ERROR" if code else "COMPLETE"

    @property
    def over(self) -> bool:
        return self.process.poll() is not None if self.process else self.states[0] not in ("QUEUED", "RUNNING")

    def files(self) -> list[str]:
        return sorted(p.relative_to(self.working).as_posix() for p in self.working.rglob("*") if p.is_file())


class Kaggle:
    """The server and all that it keeps. `with Kaggle(folder, faces) as kaggle` serves until the block ends."""

    def __init__(self, folder: Path, faces: Path):
        self.top, self.faces = folder, faces
        self.resets = 0
        self.reset()
        handler = type("Handler", (Handler,), {"kaggle": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True

    def reset(self) -> None:
        """Forgets everything. From then on, pushed kernels are queued, then run and never finish."""
        self.resets += 1
        self.folder = self.top / f"state{self.resets}"
        self.kernels: dict[str, list[Version]] = {}
        self.datasets: dict[str, Path] = {}
        self.blobs: dict[str, tuple[str, bytes]] = {}
        self.submissions: list[dict] = []
        self.calls: list[tuple[str, dict]] = []
        self.files: list[str] = []  # names of the output files that were downloaded, in order
        self.foreign: list[str] = []  # requests for any other host: there must be none
        self.defects: list[Exception] = []  # of this server: there must be none either
        self.faults: list[Fault] = []
        self.refusal = ""  # what SaveKernel answers with 200
        self.runs_kernels = False
        self.prepare(["QUEUED", "RUNNING"])

    def prepare(self, states: list[str], working: Path | None = None, events: list[dict] = ()) -> None:
        """Later versions do not run: they have these states, one a call, and leave this folder's files and log."""
        self.states, self.working, self.events = states, working, events

    def __enter__(self) -> "Kaggle":
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind, *_) -> None:
        self.server.shutdown()
        self.server.server_close()
        for version in (v for versions in self.kernels.values() for v in versions):
            if version.process:
                version.process.kill()
                version.process.wait()
                (version.folder / "src").chmod(0o755)
        assert kind or not (self.defects or self.foreign), (self.defects, self.foreign)

    def environment(self, home: Path) -> dict[str, str]:
        """What leads a client here, with a key of its own in `home`, where SECRET_VARIABLES are not set."""
        config = home / "kaggle"
        config.mkdir(parents=True, exist_ok=True)
        (config / "kaggle.json").write_text(json.dumps({"username": USER, "key": KEY}))
        (config / "kaggle.json").chmod(0o600)
        proxy = f"http://127.0.0.1:{self.server.server_port}"
        proxies = {"http_proxy": proxy, "https_proxy": proxy, "no_proxy": ""}
        folders = {"KAGGLE_CONFIG_DIR": str(config), "HOME": str(home), "TMPDIR": str(home)}
        return {"KAGGLE_API_ENVIRONMENT": "LOCALHOST"} | folders | proxies

    def fail(self, match: str, status: int = 0, message: str = "", **more) -> None:
        self.faults.append(Fault(match, status, message, **more))

    def fault(self, name: str) -> Fault | None:
        """The first fault that waits for a call of this name."""
        found = next((f for f in self.faults if f.times > 0 and re.search(f.match, name)), None)
        if found:
            found.times -= 1
        return found

    def count(self, name: str) -> int:
        return sum(called == name for called, _ in self.calls)

    # --------------------------------------------------------------------------- the methods of the API

    def save_kernel(self, body: dict) -> dict:
        if self.refusal:
            return {"error": self.refusal}
        if body["slug"].split("/")[0] != USER:
            raise Denied(403, "Permission 'kernels.update' was denied")
        if len(body["text"].encode()) >= 1_000_000:
            return {"error": "The source is too large"}
        known = {"Competition": {COMPETITION}, "Dataset": self.datasets, "Kernel": {*self.kernels, body["slug"]}}
        invalid = {}
        for kind, names in known.items():
            given = body.get(key := f"{kind.lower()}DataSources", [])
            invalid[f"invalid{kind}Sources"] = [name for name in given if name not in names]
            body[key] = [name for name in given if name in names]
        versions = self.kernels.setdefault(body["slug"], [])
        versions.append(Version(self, body, len(versions) + 1))
        url = f"https://www.kaggle.com/code/{body['slug']}"
        return {"ref": f"/code/{body['slug']}", "url": url, "versionNumber": len(versions), "error": ""} | invalid

    def latest(self, body: dict) -> Version:
        versions = self.kernels.get(f"{body['userName']}/{body['kernelSlug']}")
        if not versions:
            # Kaggle does not say whether a kernel is not there or not yours.
            raise Denied(403, "Permission 'kernels.get' was denied")
        return versions[-1]

    def get_kernel(self, body: dict) -> dict:
        version = self.latest(body)
        blob = {"source": version.request["text"], "language": "python", "kernelType": "script"}
        return {"metadata": {"currentVersionNumber": version.number}, "blob": blob}

    def get_kernel_session_status(self, body: dict) -> dict:
        return {"status": self.latest(body).status}

    def list_kernel_session_output(self, body: dict) -> dict:
        version, first = self.latest(body), int(body.get("pageToken") or 0)
        if not version.over:
            return {"files": [], "log": "", "nextPageToken": ""}
        names = version.files()
        page = names[first : first + PAGE]
        base = f"http://localhost/files/{version.request['slug']}/{version.number}"
        more = str(first + PAGE) if first + PAGE < len(names) else ""
        files = [{"url": f"{base}/{quote(name)}", "fileName": name} for name in page]
        return {"files": files, "log": json.dumps(version.events), "nextPageToken": more}

    def start_blob_upload(self, body: dict) -> dict:
        token = f"blob{len(self.blobs)}"
        self.blobs[token] = (body.get("name") or body.get("fileName"), b"")
        return {"token": token, "createUrl": f"http://localhost/upload/{token}"}

    start_submission_upload = start_blob_upload

    def create_submission(self, body: dict) -> dict:
        self.submissions.append(body | {"content": self.blobs[body["blobFileTokens"]][1]})
        return {"message": "Successfully submitted", "ref": len(self.submissions)}

    def get_dataset_status(self, body: dict) -> dict:
        if f"{body['ownerSlug']}/{body['datasetSlug']}" not in self.datasets:
            raise Denied(403, "Permission 'datasets.get' was denied")
        return {"status": "READY"}

    def create_dataset(self, body: dict) -> dict:
        """Also a new version of one, which wraps its files in `body`."""
        ref = f"{body['ownerSlug']}/{body.get('slug') or body['datasetSlug']}"
        folder = self.folder / "datasets" / ref
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in body.get("body", body).get("files", []):
            name, content = self.blobs[file["token"]]
            (folder / name).write_bytes(content)
        self.datasets[ref] = folder
        return {"ref": ref, "url": f"https://www.kaggle.com/datasets/{ref}", "status": "ok", "error": ""}

    create_dataset_version = create_dataset

    def competition_files(self) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for file in sorted(self.faces.iterdir()):
                archive.write(file, file.name)
        return packed.getvalue()


class Denied(Exception):
    """An error that the API answers with: status and message."""


class Handler(BaseHTTPRequestHandler):
    """One connection; `kaggle` is the server's state."""

    kaggle: Kaggle

    def log_message(self, *_) -> None:
        pass

    def do_CONNECT(self) -> None:  # a client that wants TLS wants another host
        self.kaggle.foreign.append(self.path)
        self.send_error(403)

    def do_POST(self) -> None:
        self.serve(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    do_GET = do_PUT = do_POST

    def serve(self, body: bytes) -> None:
        address = urlsplit(self.path)
        path = unquote(address.path)
        if address.hostname != "localhost":
            self.kaggle.foreign.append(self.path)
        name = re.sub(r"^/files/[^/]+/[^/]+/\d+/", "file ", path) if path.startswith("/files/") else path.split("/")[-1]
        if not name.startswith("file "):
            name = {"GET": "stream", "PUT": "upload"}.get(self.command, name)
        fault = self.kaggle.fault(name)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if fault and fault.hang:
                time.sleep(fault.hang)
            if fault and fault.status and not fault.after:
                self.refuse(fault.status, fault.message, fault)
                return
            self.answer(name, path, body, fault)

    def answer(self, name: str, path: str, body: bytes, fault: Fault | None) -> None:
        if name.startswith("file "):
            _, _, owner, slug, number, rest = path.split("/", 5)
            version = self.kaggle.kernels[f"{owner}/{slug}"][int(number) - 1]
            self.kaggle.files.append(rest)
            self.send((version.working / rest).read_bytes(), "application/octet-stream", fault)
        elif name == "upload":
            token = path.split("/")[-1]
            self.kaggle.blobs[token] = (self.kaggle.blobs[token][0], body)
            self.send(b"", "text/plain", fault)
        elif name == "IntrospectToken":
            active = json.loads(body)["token"] == TOKEN
            self.send(json.dumps({"active": True, "username": USER} if active else {"active": False}).encode())
        elif self.headers.get("Authorization") not in AUTHORIZATIONS:
            self.refuse(401, "Unauthenticated")
        elif name == "DownloadDataFiles":  # leads to the archive; the client takes the file's ending from its address
            where = f"http://localhost/archives/{json.loads(body)['competitionName']}.zip"
            self.send(b"", "text/plain", status=302, more={"Location": where})
        elif path.startswith("/archives/"):
            self.send(self.kaggle.competition_files(), "application/zip", fault)
        elif name == "stream":
            self.stream(self.kaggle.kernels["/".join(path.split("/")[-2:])][-1])
        else:
            self.method(name, json.loads(body or b"{}"), fault)

    def method(self, name: str, body: dict, fault: Fault | None) -> None:
        self.kaggle.calls.append((name, body))
        try:
            answer = getattr(self.kaggle, re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower())(body)
        except Denied as denied:
            self.refuse(*denied.args)
            return
        except Exception as defect:
            self.kaggle.defects.append(defect)
            self.refuse(501, f"the server of the tests has a defect: {defect!r}")
            return
        if fault and fault.after:
            self.refuse(fault.status, fault.message, fault)
        else:
            self.send(json.dumps(answer).encode(), fault=fault)

    def refuse(self, status: int, message: str, fault: Fault | None = None) -> None:
        """An error; the header is echoed into it, as careless servers do."""
        message += f" (Authorization: {self.headers.get('Authorization')})"
        answer, kind = json.dumps({"code": status, "message": message}), "application/json"
        if fault and fault.plain:
            answer, kind = f"<html>{message}</html>", "text/html"
        self.send(answer.encode(), kind, None, status, fault.headers if fault else {})

    def send(self, content: bytes, kind="application/json", fault=None, status=200, more=None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for header, value in (more or {}).items():
            self.send_header(header, value)
        if not (fault and fault.cut == "silent"):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault and fault.cut else content)

    def stream(self, version: Version) -> None:
        """The log as it grows, or the whole of it as one JSON array when the kernel is over. A prepared log ends."""
        if version.over:
            self.send(json.dumps(version.events).encode())
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")  # without, the client waits until it has 512 bytes
        self.end_headers()
        sent = 0
        while sent < len(version.events) or (version.process and not version.over):
            for event in version.events[sent:]:
                self.chunk(f"data: {json.dumps(event)}\n\n")
                sent += 1
            time.sleep(0.05)
        self.chunk("data: END_OF_LOG\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())
        self.wfile.flush()
