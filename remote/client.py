"""The calls to Kaggle: the real client in a process of its own, with what the client lacks.

The real client has no time limit and repeats no call, its errors have no status, and its verbose mode prints the key.
Here a call is ended when it takes too long and repeated with growing pauses where that may help, and every answer is
cleared of the key.
"""

import base64
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence

import build
import kaggle_account
from src.errors import UserError
from src.home_folder import private_folder

PAUSES = (5.0, 15.0, 45.0, 90.0)  # seconds before each further try, unless the server names another time
LONGEST_PAUSE = 600.0
LIMITS = {"push": 300, "output": 3600, "submit": 900, "dataset": 7200}  # seconds a call may take; others 90
BUSY_STATUSES = (429, 500, 502, 503, 504)
REFUSED_STATUSES = (429, 503)  # of these nothing has taken effect


class KaggleError(Exception):
    """Something is wrong on Kaggle's side, or with the kernel there. The message is one or two lines; exit code 1."""


class ApiError(Exception):
    """One failed try of a call. kind: http, file, connection, timeout, client, missing or "no key"."""

    def __init__(self, kind: str, message: str = "", status: int = 0, wait: float | None = None):
        super().__init__(message)
        self.kind, self.message, self.status, self.wait = kind, message, status, wait

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed later."""
        return self.kind in ("connection", "timeout") or self.status in BUSY_STATUSES


class Client:
    """Calls Kaggle. The process with the real client starts with the first call and is kept for further ones."""

    def __init__(self, pauses: Sequence[float] = PAUSES, limits: dict[str, float] | None = None):
        self.pauses, self.limits = pauses, LIMITS if limits is None else limits
        self.process: ClientProcess | None = None

    def call(
        self,
        name: str,
        *,
        if_missing: dict | None = None,
        already_done: Callable[[], dict | None] | None = None,
        repeats_unanswered: bool = True,
        **arguments,
    ) -> dict:
        """The answer of one call of `client_process`; repeated while Kaggle is busy or does not answer.

        if_missing: the answer where Kaggle says that there is no such thing (403 or 404). already_done: asked before a
        call that changes something is repeated; returns the answer where the earlier try took effect, else None.
        repeats_unanswered: False for a call that must not take effect twice: it is repeated only where Kaggle has
        refused it. Raises UserError for what the user can put right, KaggleError for the rest.
        """
        waited, last = 0.0, None
        for pause in [0.0, *self.pauses]:
            if last:
                pause = pause if last.wait is None else min(last.wait, LONGEST_PAUSE)
                print(f"{one_line(last)}; again in {pause:.0f} s", file=sys.stderr)
                time.sleep(pause)
                waited += pause
                if already_done and (found := already_done()) is not None:
                    return found
            try:
                return self.call_once(name, arguments)
            except ApiError as failed:
                last = failed
            if if_missing is not None and last.status in (403, 404):
                return if_missing
            if last.is_transient and not (repeats_unanswered or last.status in REFUSED_STATUSES):
                raise user_message(name, last, arguments, "it may have arrived: look there before you repeat it")
            if not last.is_transient:
                break
        tries = f"{len(self.pauses) + 1} tries, {waited:.0f} s of waiting"
        raise user_message(name, last, arguments, tries)

    def call_once(self, name: str, arguments: dict) -> dict:
        """One try; raises ApiError."""
        self.process = self.process or ClientProcess()
        try:
            answer = self.process.ask({"call": name, "arguments": arguments}, self.limits.get(name, 90))
        except ApiError:
            self.close()
            raise
        if isinstance(answer.get("error"), dict):
            raise ApiError(**answer["error"])
        return answer

    def close(self) -> None:
        """Ends the process, if there is one."""
        if self.process:
            self.process.end()
        self.process = None


class ClientProcess:
    """The process with the real client. It starts in a second or two."""

    def __init__(self):
        command = [sys.executable, "-m", "remote.client_process"]
        self.errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (a pipe would fill: nobody reads it)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.running = subprocess.Popen(command, cwd=build.ROOT, env=environment(), text=True, **pipes)
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self.read_answers, daemon=True).start()

    def read_answers(self) -> None:
        for line in self.running.stdout:
            self.answers.put(line)
        self.answers.put("")

    def ask(self, request: dict, limit: float) -> dict:
        """The answer to one request; raises ApiError where none comes within `limit` seconds."""
        try:
            self.running.stdin.write(json.dumps(request) + "\n")
            self.running.stdin.flush()
            return json.loads(without_key(self.answers.get(timeout=limit)))
        except queue.Empty:
            raise ApiError("timeout", f"no answer in {limit:.0f} s") from None
        except (OSError, ValueError):
            self.errors.seek(0)
            last_line = without_key(self.errors.read()).strip().splitlines()[-1:]
            raise ApiError("client", "".join(last_line) or "it ended without a message") from None

    def end(self) -> None:
        self.running.kill()
        self.running.wait()
        self.running.stdin.close()
        self.errors.close()


def environment() -> dict:
    """This process's environment, without what makes the client print its requests, and the key with them.

    The client creates its folder, and does not start where it cannot.
    """
    kept = {k: v for k, v in os.environ.items() if k not in ("VERBOSE", "VERBOSE_OUTPUT")}
    folder = kaggle_account.config_folder()
    places = [place for place in (folder, *folder.parents) if os.access(place, os.F_OK)] if folder else []
    if folder not in places and not (places and os.access(places[0], os.W_OK)):
        kept["KAGGLE_CONFIG_DIR"] = str(private_folder())
    return kept


def secrets() -> list[str]:
    """Every form of the user's keys that could appear in a text, the longest first."""
    pair, login = kaggle_account.key_pair(), kaggle_account.login()
    found = [os.environ.get("KAGGLE_KEY"), os.environ.get("KAGGLE_API_TOKEN"), kaggle_account.access_token()[0]]
    found += [pair.get("key"), login.get("access_token"), login.get("refresh_token")]
    users, keys = set(kaggle_account.names()), {str(key) for key in found if key and len(str(key)) >= 6}
    coded = {base64.b64encode(f"{user}:{key}".encode()).decode() for user in users for key in keys}
    return sorted(keys | coded, key=len, reverse=True)


def without_key(text: str) -> str:
    """`text` with *** in place of every secret."""
    for secret in secrets():
        text = text.replace(secret, "***")
    return text


def one_line(failed: ApiError) -> str:
    """A failure in one line of moderate length."""
    words = re.sub(r"<[^>]*>", " ", failed.message)
    words = " ".join(words.split())[:200] or failed.kind
    known = failed.status and str(failed.status) not in words
    return f"Kaggle answered {failed.status}: {words}" if known else f"Kaggle: {words}"


def user_message(name: str, failed: ApiError, arguments: dict, tries: str) -> Exception:
    """The error for the user: what was being done, what Kaggle said, what to do."""
    what = f"{name.replace('_', ' ')} {arguments.get('kernel') or arguments.get('competition') or ''}".strip()
    said = one_line(failed)
    if failed.kind == "missing":
        return UserError(f"the Kaggle client cannot start: {said}\nInstall it: pip install -r requirements.txt")
    if failed.kind == "no key":
        return UserError(no_key())
    if failed.kind == "file":
        return KaggleError(f"{what}: Kaggle lists a file but does not send it: {said}.\nRun the command again later.")
    if failed.status == 401:
        return UserError(f"{what}: Kaggle does not accept the key (401).\n{key_advice()}")
    if failed.status == 403:
        return UserError(
            f"{what}: denied (403). {said}\n"
            "Is the owner's name yours, the kernel's name right, the phone number verified and the competition joined?"
        )
    if failed.status == 404:
        return UserError(f"{what}: Kaggle knows no such thing (404).\nIs the name right, and has it been pushed?")
    if failed.is_transient:
        return KaggleError(
            f"{what}: {said} ({tries}).\nKaggle is busy or out of reach. Run the same command again later."
        )
    return KaggleError(f"{what}: {said}")


def no_key() -> str:
    """Why the client has no key, which it does not say, and what to do."""
    if problem := kaggle_account.key_file_problem():
        return f"the Kaggle client has no key: {problem}."
    if kaggle_account.access_token()[0]:
        return f"the Kaggle client has no key that Kaggle accepts.\n{key_advice()}"
    return f"the Kaggle client has no key.\nMake one at {kaggle_account.KEY_PAGE} and {key_location()}"


def key_location() -> str:
    """Where to put a new key."""
    folder, config = kaggle_account.dot_kaggle(), kaggle_account.config_folder()
    if folder is None:
        return "set KAGGLE_API_TOKEN: there is no home folder here"
    return f"save the token as {folder / kaggle_account.TOKEN_FILES[0]}, or a kaggle.json in {config}"


def key_advice() -> str:
    """What to do about a key that is not accepted. A token goes before a key pair, also when it is stale."""
    _, source = kaggle_account.access_token()
    if source:
        remove = "unset it" if source == "KAGGLE_API_TOKEN" else "remove it"
        return f"The client prefers {source} to any kaggle.json: renew it, or {remove}."
    return f"Make a new one at {kaggle_account.KEY_PAGE} and {key_location()}"
