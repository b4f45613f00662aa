"""A headless Chromium, spoken to over a pipe in the DevTools protocol: no driver, no package, no port."""

import fcntl
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")
QUIET = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-extensions")
FAULTS = ("Runtime.exceptionThrown", "Log.entryAdded")  # and what the page itself writes to the console


class Page:
    """One tab: what was asked of it, and every event that it told."""

    def __init__(self, send, receive):
        self.send, self.receive = send, receive
        self.calls, self.session, self.events = 0, None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **parameters):
        """The result of a command of the protocol."""
        self.calls += 1
        message = {"id": self.calls, "method": method, "params": parameters}
        self.send(message | ({"sessionId": self.session} if self.session else {}))
        while (answer := self.receive()).get("id") != self.calls:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path):
        """Loads a file, and waits until it has."""
        self.ask("Page.navigate", url=Path(path).as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())

    def evaluate(self, expression):
        """The value of an expression of JavaScript."""
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def point(self, x, y):
        """Moves the pointer there, in pixels of the window."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key):
        """Presses a key and lets it go."""
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def faults(self):
        """What the console has: exceptions, errors, warnings, violations of the page's policy."""
        self.evaluate("0")  # what happened before has been told by now
        return [
            event
            for event in self.events
            if event.get("method") in FAULTS
            or event.get("method") == "Runtime.consoleAPICalled"
            and event["params"]["type"] in ("error", "warning", "assert")
        ]

    def requests(self):
        """The addresses that were asked for, but those within the page."""
        sent = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [address for address in sent if not address.startswith("data:")]


@contextmanager
def browse(profile, width=1280, height=900, dark=False):
    """A new page of a browser whose profile lies in a folder; it ends with the block."""
    (commands, our_commands), (our_answers, answers) = os.pipe(), os.pipe()
    theirs = [
        fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands, answers)
    ]  # clear of 3 and 4, of which it speaks
    os.close(commands)
    os.close(answers)
    command = [CHROMIUM, *OPTIONS, *QUIET, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
    joined = ["bash", "-c", f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}', "bash", *command]
    with (
        subprocess.Popen(joined, pass_fds=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
        open(our_commands, "wb", buffering=0) as writer,
        open(our_answers, "rb") as reader,
    ):
        for end in theirs:
            os.close(end)

        def send(message):
            writer.write(json.dumps(message).encode() + b"\0")

        def receive():
            text = bytearray()
            while (byte := reader.read(1)) != b"\0":
                assert byte, "the browser has gone"
                text += byte
            return json.loads(text)

        try:
            page = Page(send, receive)
            page.ask(
                "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
            )
            scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
            page.ask("Emulation.setEmulatedMedia", features=scheme)
            yield page
        finally:
            process.terminate()
