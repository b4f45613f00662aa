"""A person at a terminal: types into a script behind a real pseudo-terminal, and reads the screen that it paints."""

import os
import signal
import sys
import time
from functools import partial

import pexpect
import pyte
from conftest import ROOT

CTRL_C, CTRL_D, ALT_ENTER, UP = "\x03", "\x04", "\x1b\r", "\x1b[A"


class Terminal:
    """A script in a terminal of so many rows and columns; what was typed is remembered beneath `home`."""

    def __init__(self, home, *words, rows=50, columns=110):
        self.screen = pyte.HistoryScreen(columns, rows, history=1000)
        self.stream = pyte.Stream(self.screen)
        environment = {**os.environ, "TERM": "xterm", "XDG_STATE_HOME": str(home)}
        words = [str(word) for word in words]
        options = {"cwd": ROOT, "env": environment, "dimensions": (rows, columns), "encoding": "utf-8"}
        heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests may run in the background, deaf to Ctrl-C
        self.child = pexpect.spawn(sys.executable, words, preexec_fn=heed, **options)
        self.screen.write_process_input = self.child.send  # as a terminal answers where its cursor is

    @property
    def text(self):
        """What the screen shows."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def wait(self, reached, seconds=90):
        """Reads on until `reached` is on the screen (a text), or true of it; the screen then."""
        end = time.monotonic() + seconds
        while not (reached in self.text if isinstance(reached, str) else reached(self.text)):
            assert time.monotonic() < end, f"no {reached} in:\n{self.text}"
            try:
                self.stream.feed(self.child.read_nonblocking(65_536, timeout=0.1))
            except pexpect.TIMEOUT:
                pass
            except pexpect.EOF:
                raise AssertionError(f"it has ended without {reached}:\n{self.text}") from None
        return self.text

    def type(self, line):
        """Types a line when the prompt is there, and Enter."""
        self.wait(lambda text: text.endswith("\n>") or text == ">")
        self.child.send(line + "\r")

    def end(self):
        """Reads until it has ended; the exit status."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                self.stream.feed(self.child.read_nonblocking(65_536, timeout=0.1))
            except pexpect.TIMEOUT:
                pass
            except pexpect.EOF:
                break
        self.child.close()
        return self.child.exitstatus
