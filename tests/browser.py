"""Drive headless Chromium through its DevTools protocol: open a page, read its text, press what carries a text."""

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
)  # fmt: skip
# The innermost visible element that shows just this text, or has it as its label.
_FIND = """
(() => {
  const shown = e => e.getClientRects().length > 0;
  const says = e => (e.innerText || '').trim() === %(text)s || e.getAttribute('aria-label') === %(text)s;
  const found = [...document.querySelectorAll(%(selector)s)].filter(e => shown(e) && says(e));
  const e = found.at(-1);
  if (!e) return null;
  e.scrollIntoView({block: 'center'});
  const r = e.getBoundingClientRect();
  return [r.x + r.width / 2, r.y + r.height / 2];
})()
"""


class Page:
    """One tab of a browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the DevTools protocol."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]

    def open(self, url: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """Run a script and give its value."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        """Give the text that the page shows."""
        return self.evaluate("document.body ? document.body.innerText : ''")

    def wait_for_text(self, *texts: str, timeout_s: float = 60) -> str:
        """Wait until the page shows one of some texts; give which."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            shown = self.text()
            if found := next((text for text in texts if text in shown), None):
                return found
            time.sleep(0.2)
        raise TimeoutError(f"{texts} not on the page: {self.text()[:2000]}")

    def press(self, text: str, selector: str = "button, a, [role=menuitem], [role=tab]", timeout_s: float = 30) -> None:
        """Press the mouse on what shows a text or has it as its label, as soon as it stands still."""
        script = _FIND % {"text": json.dumps(text), "selector": json.dumps(selector)}
        deadline = time.monotonic() + timeout_s
        place, before = None, None
        while place is None or place != before:  # a page that still loads moves it
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing to press says {text!r}: {self.text()[:2000]}")
            time.sleep(0.3)
            before, place = place, self.evaluate(script)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def photograph(self, path: Path) -> None:
        """Save what the window shows as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def open_browser(width: int = 1400, height: int = 1000) -> Iterator[Page]:
    """Start Chromium with one empty tab; it ends with the block."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise FileNotFoundError("there is no chromium on the PATH: apt install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_tab(Path(profile), process), max_size=None) as socket:
                page = Page(socket)
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                page.call("Emulation.setDeviceMetricsOverride", **size)
                yield page
        finally:
            process.terminate()
            process.wait(timeout=30)


def _tab(profile: Path, process: subprocess.Popen) -> str:
    """Wait for the browser and give the address of its tab."""
    deadline = time.monotonic() + 60
    written = profile / "DevToolsActivePort"
    while not written.exists() or len(written.read_text().split()) < 2:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("chromium did not start")
        time.sleep(0.1)
    port = written.read_text().split()[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as reply:
        return next(tab["webSocketDebuggerUrl"] for tab in json.loads(reply.read()) if tab["type"] == "page")
