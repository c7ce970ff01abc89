"""The browser for pages that are files reaches nobody, neither a host nor the environment's proxy."""

import os
import socket
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tools.browser import find_chromium

SCRIPT = """
import sys
from tools.browser import launched
with launched(sys.argv[1]) as browser:
    print(browser.new_page().evaluate(
        "fetch('http://' + '%s', {signal: AbortSignal.timeout(5000)}).then(() => 'reached', e => e.name)"))
"""


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1:{port}"])
def test_no_host_and_no_proxy_is_reached(host):
    try:
        program = find_chromium()
    except LookupError as reason:
        pytest.skip(str(reason))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        proxy = f"http://127.0.0.1:{port}"
        variables = os.environ | {"http_proxy": proxy, "https_proxy": proxy, "no_proxy": ""}
        command = [sys.executable, "-c", SCRIPT % host.format(port=port), program]
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120)
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
    assert done.stdout.strip() == "TypeError", done.stderr  # and no AbortError: nothing was waited for
