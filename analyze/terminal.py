"""A terminal to talk in: lines with editing and history, and texts that appear while they are written.

Several texts stand side by side where the terminal is wide enough, row by row as all of them have filled it; else, and
where no terminal is, one below the other.
"""

import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import wcwidth

LEAST_COLUMN = 36  # columns of a text beside others
GAP = " │ "


def line_reader(commands: Sequence[str]) -> Callable[[], str]:
    """What reads the next line; raises EOFError at the end (Ctrl-D) and KeyboardInterrupt at Ctrl-C.

    In a terminal: the usual keys, history over sessions (Up, Ctrl-R), commands completed by Tab, Alt-Enter for a new
    line; a pasted text with line ends stays whole.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return input
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()
    keys.add("escape", "enter")(lambda event: event.current_buffer.insert_text("\n"))
    session: PromptSession[str] = PromptSession(
        history=FileHistory(history_file()),
        completer=WordCompleter(list(commands), sentence=True),
        complete_while_typing=False,
        key_bindings=keys,
    )
    return lambda: session.prompt("> ")


def history_file() -> Path:
    """Where what was typed is kept, for its user alone: in the state folder, as freedesktop.org names it."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    path = Path(state) / "snakmodel/history"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    return path


def column_width(texts: int) -> int | None:
    """Characters a column, where so many texts can stand side by side here; None: they cannot."""
    if texts < 2 or not sys.stdout.isatty():
        return None
    width = (shutil.get_terminal_size().columns - len(GAP) * (texts - 1)) // texts
    return width if width >= LEAST_COLUMN else None


def harmless(text: str) -> str:
    """A text without the characters that a terminal would obey; line ends stay.

    Those are the control characters, escape among them, and those that turn the direction of what follows them.
    """
    turns = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return "".join(
        "\ufffd" if unicodedata.category(c) == "Cc" and c not in "\n\t" or unicodedata.bidirectional(c) in turns else c
        for c in text
    ).expandtabs(4)


def show_below(title: str | None, pieces: Iterator[str]) -> None:
    """Shows one text as it comes, beneath its title."""
    if title is not None:
        print(f"── {title}", flush=True)
    try:
        for piece in pieces:
            print(harmless(piece), end="", flush=True)
    finally:
        print(flush=True)


def show_beside(titles: list[str], texts: list[Iterator[str]], width: int) -> None:
    """Shows several texts in columns: each goes on by a piece in turn, and a row appears once all have filled it."""
    columns, ended, shown = ["" for _ in texts], [False for _ in texts], 0
    print_row([title[-width:] for title in titles], width)
    print_row(["─" * width for _ in texts], width)
    try:
        while not all(ended):
            for place, text in enumerate(texts):
                if not ended[place]:
                    piece = next(text, None)
                    ended[place] = piece is None
                    columns[place] = (columns[place] + harmless(piece or "")).lstrip(" ")
            rows = [wrap(column, width) for column in columns]
            # only the last row of a text that goes on may still change
            full = min((len(mine) - 1 for mine, over in zip(rows, ended, strict=True) if not over), default=None)
            shown = print_rows(rows, shown, full, width)
    except KeyboardInterrupt:
        print_rows([wrap(column, width) for column in columns], shown, None, width)
        raise


def print_rows(rows: list[list[str]], shown: int, full: int | None, width: int) -> int:
    """Prints the rows that are full and not yet shown (None: all there are); how many are shown then."""
    last = max(map(len, rows)) if full is None else full
    for number in range(shown, last):
        print_row([mine[number] if number < len(mine) else "" for mine in rows], width)
    return max(shown, last)


def print_row(cells: list[str], width: int) -> None:
    """One row of columns."""
    print(GAP.join(wcwidth.ljust(cell, width) for cell in cells).rstrip(), flush=True)


def wrap(text: str, width: int) -> list[str]:
    """A text as rows of so many columns, of which wide characters take two; its own line ends stay."""
    return [row for line in text.split("\n") for row in wcwidth.wrap(line, width) or [""]]
