"""A real Chromium without a window, driven by the DevTools protocol over a pipe (--remote-debugging-pipe).

The pipe is Chromium's life line: it ends when the pipe is closed, however we end.  No port, no library, no display;
its profile lies in the test's directory, and no name but 127.0.0.1 resolves.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ANSWER_S = 30.0  # for one command; a busy machine starts Chromium in some seconds
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # it has none as root
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--mute-audio",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "about:blank",
)


def find() -> str | None:
    """The program, if this machine has one."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def _environment(directory: Path) -> dict[str, str]:
    """Without libasan, which `make test-asan` loads into all that tests start: Chromium does not live with it."""
    return {**{name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}, "HOME": str(directory)}


class Browser:
    """One Chromium; `tab()` opens a page in it."""

    def __init__(self, program: str, directory: Path) -> None:
        self._to, theirs_in, self._from, theirs_out = _pipes()
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "chromium.log"
        command = [program, f"--user-data-dir={directory}/profile", *OPTIONS]
        # Chromium reads descriptor 3 and writes descriptor 4.
        shell = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", *command]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                shell,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(directory),
                pass_fds=(theirs_in, theirs_out),
                start_new_session=True,
            )
        os.close(theirs_in)
        os.close(theirs_out)
        self._numbers = itertools.count(1)
        self._data = b""
        self._answers: dict[int, dict[str, Any]] = {}
        self.tabs: dict[str, Tab] = {}

    def tab(self, width: int = 1280, height: int = 900, *, dark: bool = False, mobile: bool = False) -> Tab:
        """An empty page of this size in CSS pixels."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        tab = self.tabs[session] = Tab(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        tab.resize(width, height, mobile=mobile)
        tab.scheme(dark)
        return tab

    def call(self, method: str, params: dict[str, Any] | None = None, session: str = "") -> dict[str, Any]:
        """The result of one command. Events that come meanwhile go to their tabs."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWER_S
        while number not in self._answers:
            assert self.listen(deadline - time.monotonic()), f"no answer to {method}: {self.log.read_text()[-2000:]}"
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    def listen(self, seconds: float) -> bool:
        """Take what comes within this time; whether anything came."""
        if seconds < 0 or not select.select([self._from], [], [], seconds)[0]:
            return False
        data = os.read(self._from, 1 << 20)
        assert data, f"Chromium has ended: {self.log.read_text()[-2000:]}"
        *messages, self._data = (self._data + data).split(b"\0")
        for message in messages:
            self._take(json.loads(message))
        return True

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
        elif message.get("sessionId") in self.tabs:
            self.tabs[message["sessionId"]].take(message["method"], message["params"])

    def close(self) -> None:
        """The end of it, and of all its processes."""
        os.close(self._to)
        os.close(self._from)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # a session of its own
            self.process.wait(10)


class Tab:
    """One page: what it asked for, what it complained about, what it shows."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session
        self.requests: list[str] = []  # every URL that it asked for
        self.complaints: list[str] = []  # console messages, exceptions, violations of the security policy
        self.loaded = False

    def take(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"{params['type']}: {[item.get('value') for item in params['args']]}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(_fault(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Page.loadEventFired":
            self.loaded = True

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, params, self._session)

    def resize(self, width: int, height: int, *, scale: float = 1, mobile: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )

    def scheme(self, dark: bool) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def go(self, url: str) -> None:
        """Load a page, until its load event."""
        self.loaded = False
        assert "errorText" not in self.call("Page.navigate", url=url)
        deadline = time.monotonic() + ANSWER_S
        while not self.loaded:
            assert self._browser.listen(deadline - time.monotonic()), f"{url} does not load"

    def eval(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def text(self, selector: str = "body") -> str:
        """What a reader sees there: innerText."""
        return str(self.eval(f"(document.querySelector({json.dumps(selector)}) || {{}}).innerText || ''"))

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        """Poll, taking events meanwhile."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}; the page says:\n{self.text()}"
            self._browser.listen(0.1)

    def wait_text(self, text: str, selector: str = "body", seconds: float = 30.0) -> None:
        self.wait(lambda: text in self.text(selector), f"{text!r} in {selector}", seconds)

    def picture(self, path: Path, *, full: bool = False) -> None:
        """A PNG of what is to be seen, or of the page to its end."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        path.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        self._browser.call("Target.closeTarget", {"targetId": self._target})
        self._browser.tabs.pop(self._session, None)


def _pipes() -> tuple[int, int, int, int]:
    """(we write, Chromium reads, we read, Chromium writes)."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    return ours_out, theirs_in, ours_in, theirs_out


def _fault(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description") or details["text"])
