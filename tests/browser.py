"""A headless Chromium, driven over its DevTools pipe: what a page looks like, and what it says to the console.

python -m tests.browser PAGE.html        looks at a page, on a desktop and a phone, by day and by night
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Chromium reads commands from descriptor 3 and answers on 4
START = """
import fcntl, os, sys
pair = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
for number, fd in enumerate(pair, start=3):
    os.dup2(fd, number)
    os.set_inheritable(number, True)
    os.close(fd)
os.execvp(sys.argv[3], sys.argv[3:])
"""
MEASURE = """(async () => {
  await document.fonts.ready;
  const images = [...document.images];
  await Promise.all(images.map(image => image.decode().catch(() => null)));
  const wide = [...document.querySelectorAll('body *')].filter(e => {
    if (e.closest('.scroll, .frame') && !e.matches('.scroll, .frame')) return false;
    const box = e.getBoundingClientRect();
    return box.width > 0 && (box.right > innerWidth + 0.5 || box.left < -0.5);
  }).map(e => e.outerHTML.slice(0, 120));
  return {
    images: images.map(i => [i.complete, i.naturalWidth]),
    alts: images.map(i => i.alt),
    formulas: [...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().height),
    scroll: document.documentElement.scrollWidth,
    inner: innerWidth,
    wide,
    scripts: document.scripts.length,
    background: getComputedStyle(document.body).backgroundColor,
    text: document.body.innerText,
  };
})()"""


VIEWS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]
"""Desktop and phone, by day and by night."""


def find() -> str | None:
    """The browser's path, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


needed = pytest.mark.skipif(
    find() is None,
    reason=f"NOT TESTED in a browser: install one of {', '.join(NAMES)} (Debian: apt install chromium)",
)


def check(shown: dict[str, Any], figures: int) -> None:
    """Figures and formulas are drawn, nothing overflows, the console is empty, only the page itself is fetched."""
    assert len(shown["images"]) == figures
    assert all(complete and width > 0 for complete, width in shown["images"])
    assert all(shown["alts"])
    assert all(height > 10 for height in shown["formulas"])
    assert shown["scroll"] <= shown["inner"]
    assert shown["wide"] == []
    assert shown["console"] == []
    assert len(shown["fetched"]) == 1  # the page itself
    assert shown["scripts"] == 0


class Browser:
    """One page in one browser; a context manager."""

    def __init__(self, path: str, profile: Path) -> None:
        commands, answers = os.pipe(), os.pipe()
        line = [sys.executable, "-c", START, str(commands[0]), str(answers[1]), path]
        line += ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        line += ["--hide-scrollbars", "--no-first-run", "--disable-background-networking"]
        line += [f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
        self.process = subprocess.Popen(
            line, pass_fds=(commands[0], answers[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(commands[0])
        os.close(answers[1])
        self.commands, self.answers = os.fdopen(commands[1], "wb"), os.fdopen(answers[0], "rb")
        self.rest, self.number, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.commands.close()
        self.answers.close()

    def call(self, method: str, **parameters: Any) -> Any:
        """A DevTools command's result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.commands.write(json.dumps(message).encode() + b"\0")
        self.commands.flush()
        while (answer := self._next()).get("id") != self.number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            some = self.answers.read1(2**20)
            if not some:
                raise RuntimeError("the browser ended")
            self.rest += some
        first, _, self.rest = self.rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(first)
        return answer

    def show(self, page: Path, width: int, scheme: str, height: int = 900) -> dict[str, Any]:
        """Opens the page in a window of this width, "light" or "dark"; what it measures there."""
        mobile = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())
        answer = self.call("Runtime.evaluate", expression=MEASURE, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        measured: dict[str, Any] = answer["result"]["value"]
        return {**measured, "console": self._told(), "fetched": self._fetched()}

    def _told(self) -> list[str]:
        kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [json.dumps(event) for event in self.events if event.get("method") in kinds]

    def _fetched(self) -> list[str]:
        asked = [
            e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"
        ]
        return [url[:100] for url in asked if not url.startswith("data:")]


def main(page: Path) -> None:
    """Looks at a page in every view. Raises AssertionError if it is not as a page should be."""
    with tempfile.TemporaryDirectory() as profile, Browser(find() or NAMES[0], Path(profile)) as browser:
        for width, scheme in VIEWS:
            shown = browser.show(page.resolve(), width, scheme)
            check(shown, figures=len(shown["images"]))
            assert shown["images"], "a report without figures"
            print(f"{width} pixels, {scheme}: {len(shown['images'])} figures, {len(shown['text']):,} characters")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
