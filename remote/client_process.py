"""The real Kaggle client, in this process alone: it answers each line of JSON on standard input with one on output.

It calls the library, not the command line: that exits with 0 when the server refuses, and prints the server's words
without the status. What the client prints is not shown.
"""

import contextlib
import hashlib
import io
import json
import re
import sys
import threading
from urllib.parse import unquote, urlsplit


def push(api, folder: str, timeout: int) -> dict:
    """Sends the kernel in `folder`; `timeout` in seconds bounds its run."""
    answer = api.kernels_push(folder, timeout=str(timeout))
    kinds = ("Dataset", "Competition", "Kernel", "Model")
    invalid = {kind.lower(): list(getattr(answer, f"invalid{kind}Sources", None) or []) for kind in kinds}
    return {"version": answer.versionNumber, "url": answer.url, "error": answer.error or "", "invalid": invalid}


def newest(api, kernel: str) -> dict:
    """The number of the newest version and the digest of its script."""
    from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest

    request = ApiGetKernelRequest()
    request.user_name, request.kernel_slug = kernel.split("/")
    with api.build_kaggle_client() as kaggle:
        answer = kaggle.kernels.kernels_api_client.get_kernel(request)
    source = (answer.blob.source or "").encode() if answer.blob else b""
    version = answer.metadata.current_version_number if answer.metadata else 0
    return {"version": version or 0, "digest": hashlib.sha256(source).hexdigest()}


def status(api, kernel: str) -> dict:
    """The state, as the API names it, and Kaggle's own words on a failure."""
    answer = api.kernels_status(kernel)
    return {"state": answer.status.name, "message": answer.failure_message or ""}


def output(api, kernel: str, folder: str, pattern: str) -> dict:
    """Downloads the files whose names match into `folder`, following the pages; says which these were."""
    files, _ = api.kernels_output(kernel, folder, file_pattern=pattern, force=True)
    return {"files": files}


def fetch_log(api, kernel: str) -> dict:
    """The log of a kernel that is over: a JSON array of {stream_name, time, data}."""
    return {"log": api.kernels_logs(kernel)}


class Listener(threading.Thread):
    """Follows a running kernel's log, which the stream replays from its beginning, and keeps the last line."""

    def __init__(self, api, kernel: str, last: str):
        super().__init__(daemon=True)
        self.api, self.kernel, self.last = api, kernel, last

    def run(self) -> None:
        with contextlib.suppress(Exception):  # the line only informs; `status` decides
            for event in self.api.kernels_logs_stream(self.kernel):
                self.last = str(event.get("data", "")).strip() or self.last


LISTENERS: dict[str, Listener] = {}
LOST_UPLOAD = re.compile(r"Upload unsuccessful: (.+)")


def last_line(api, kernel: str, seconds: float) -> dict:
    """The last line of a running kernel's log; a new listener is given some seconds to catch up."""
    listener = LISTENERS.get(kernel)
    if listener is None or not listener.is_alive():
        listener = LISTENERS[kernel] = Listener(api, kernel, listener.last if listener else "")
        listener.start()
        listener.join(seconds)
    return {"line": listener.last}


def submit(api, file: str, message: str, competition: str) -> dict:
    """Sends a submission; returns Kaggle's words on it."""
    answer = api.competition_submit(file, message, competition, quiet=True)
    return {"message": answer.message, "failed": answer.message == api.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE}


def dataset(api, folder: str, new: bool, notes: str) -> dict:
    """Creates a private dataset from `folder`, or a new version of it; `lost` names the files that were not uploaded.

    Clients up to 2.2.4 print that an upload failed, and create the dataset without the file. Later ones raise it.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            if new:
                answer = api.dataset_create_new(folder, public=False, dir_mode="zip")
            else:
                answer = api.dataset_create_version(folder, notes, dir_mode="zip")
    except ValueError as error:
        if lost := LOST_UPLOAD.findall(str(error)):
            return {"status": "", "error": "", "lost": lost}
        raise
    lost = LOST_UPLOAD.findall(printed.getvalue())
    return {"status": (answer.status or "").lower(), "error": answer.error or "", "lost": lost}


def dataset_status(api, dataset: str) -> dict:
    """ready, failed, or a state on the way there."""
    return {"state": api.dataset_status(dataset)}


CALLS = {f.__name__: f for f in (push, newest, status, output, fetch_log, last_line, submit, dataset, dataset_status)}


def answer(request: dict) -> dict:
    """The call's answer, or {"error": what went wrong}."""
    try:
        import kaggle  # this authenticates, and swallows it when it cannot
    except ImportError as error:
        return {"error": {"kind": "missing", "message": str(error)}}
    try:
        if not kaggle.api._authenticated:  # as the client's own command line does
            kaggle.api.authenticate()
        return CALLS[request["call"]](kaggle.api, **request["arguments"])
    except SystemExit:
        return {"error": {"kind": "no key", "message": ""}}
    except Exception as error:
        return {"error": describe(error)}


def describe(error: Exception) -> dict:
    """The kind of an error, the server's status and words where it gave some, and how long it asks to wait."""
    import requests

    response, cause = None, error
    while cause is not None and response is None:  # the client turns some answers into errors of its own
        response, cause = getattr(cause, "response", None), cause.__cause__ or cause.__context__
    if response is not None:
        wait = response.headers.get("Retry-After") or ""
        wait = float(wait) if wait.isdecimal() else None
        found = {"kind": "http", "status": status_of(response), "message": str(error), "wait": wait}
        address = urlsplit(response.url)
        if "Service/" not in address.path and response.request.method == "GET":
            # A file that Kaggle listed and does not serve. Its address holds a signature, so only the name is told.
            name = unquote(address.path.split("/")[-1])
            found |= {"kind": "file", "message": f"{name}: {response.status_code} {response.reason}"}
        return found
    lost = isinstance(error, requests.RequestException | OSError)
    return {"kind": "connection" if lost else "client", "message": str(error)}


def status_of(response) -> int:
    """The status; some answers hold it in their body alone."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return max(int(response.json()["code"]), response.status_code)
    return response.status_code


def main() -> None:
    for line in sys.stdin:
        with contextlib.redirect_stdout(io.StringIO()):
            found = answer(json.loads(line))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
