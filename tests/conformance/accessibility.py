"""Accessibility and width of the pages in a real browser: axe-core in Chromium, over its protocol.

Each page is opened as on a desk, in the dark and on a phone.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
from websockets.sync.client import ClientConnection, connect

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DEADLINE_S: Final = 60
SCREENS: Final = (("desk", 1280, "light"), ("dark", 1280, "dark"), ("phone", 390, "light"))
_RUN_AXE: Final = """
axe.run({resultTypes: ["violations"]}).then((result) => result.violations.map(
  (one) => `${one.id}: ${one.nodes.map((node) => node.target.join(" ")).slice(0, 3).join(", ")}`))
"""
_PORT_FILE: Final = "DevToolsActivePort"


class NoBrowser(OSError):
    """There is no browser to open the pages in."""


def find_violations(base_url: str, paths: Sequence[str], axe: Path) -> list[str]:
    """Return what axe-core finds on the pages, and the pages that are wider than their screen."""
    script, found = axe.read_text(), []
    with _open_browser() as browser:
        for path in paths:
            for name, width, scheme in SCREENS:
                browser.show(base_url + path, width, scheme)
                browser.evaluate(f"{script};0")
                found += [f"{path} ({name}): {one}" for one in browser.evaluate(_RUN_AXE)]
                shown = browser.evaluate("document.documentElement.scrollWidth")
                if shown > width:
                    found.append(f"{path} ({name}): {shown} px wide on a screen of {width} px")
    return found


class Browser:
    """A tab of a browser, which takes one command at a time."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self._call("Page.enable")
        # The pages allow no script but their own, and axe-core is one more.
        self._call("Page.setBypassCSP", enabled=True)

    def show(self, url: str, width: int, scheme: str) -> None:
        """Open a page on a screen of a width, in a colour scheme, and wait until it is loaded."""
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self._call("Emulation.setDeviceMetricsOverride", **screen)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", media="screen", features=features)
        self._call("Page.navigate", url=url)
        self._read_until(lambda message: message.get("method") == "Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript, once its promise is kept."""
        outcome = self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in outcome:
            raise OSError(str(outcome["exceptionDetails"]))
        return outcome["result"].get("value")

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters}
        self._connection.send(json.dumps(message))
        outcome = self._read_until(lambda one: one.get("id") == number)
        if "error" in outcome:
            raise OSError(f"{method}: {outcome['error']}")
        return outcome["result"]

    def _read_until(self, is_awaited: Callable[[Any], bool]) -> Any:
        while True:
            message = json.loads(self._connection.recv(timeout=DEADLINE_S))
            if is_awaited(message):
                return message


@contextmanager
def _open_browser() -> Iterator[Browser]:
    program = os.environ.get("CHROME") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise NoBrowser(f"none of {', '.join(BROWSERS)} is on the PATH; CHROME may name one")
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0")
        process = subprocess.Popen(
            [program, *options, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with connect(_await_address(Path(profile), process), max_size=None) as connection:
                yield Browser(connection)
        finally:
            process.kill()
            process.wait()


def _await_address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Return the address of the first tab, once the browser listens."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        with_port = profile / _PORT_FILE
        if with_port.exists() and "\n" in with_port.read_text():
            port = with_port.read_text().split("\n", 1)[0]
            tabs = httpx.get(f"http://127.0.0.1:{port}/json", timeout=DEADLINE_S).json()
            for tab in tabs:
                if tab["type"] == "page":
                    return str(tab["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise NoBrowser("the browser does not listen")
