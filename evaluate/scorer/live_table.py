"""A table of models by data sets that fills up while they are scored: in place on a terminal, line by line in a log."""

import shutil
import sys
import threading

from snakmodel.printed_tables import to_text

WIDTH = 8  # characters of a data set's name at the head of its column
RUNNING, FAILED = "...", "failed"


class LiveTable:
    """The cells so far; several threads may tell theirs."""

    def __init__(self, rows: list[str], columns: list[str]) -> None:
        self.rows, self.columns = rows, columns
        self.cells: dict[tuple[str, str], str] = {}
        self.on_terminal, self.painted, self.lock = sys.stdout.isatty(), 0, threading.Lock()

    def tell(self, row: str, column: str, cell: str, line: str | None = None) -> None:
        """Fills a cell; where no terminal is, prints the line instead."""
        with self.lock:
            self.cells[row, column] = cell
            if self.on_terminal:
                self.paint()
            elif line is not None:
                print(line, flush=True)

    def paint(self) -> None:
        """Writes the table over the one before, as much of it as the terminal can show."""
        size = shutil.get_terminal_size()
        lines = self.text(size.lines - 3).splitlines()
        back = f"\x1b[{self.painted}F\x1b[J" if self.painted else ""
        sys.stdout.write(back + "".join(f"{line[: size.columns - 1]}\n" for line in lines))
        sys.stdout.flush()
        self.painted = len(lines)

    def text(self, most: int) -> str:
        """The table, with at most so many rows: those from the first on that is not filled."""
        unfilled = [n for n, row in enumerate(self.rows) if not all(self.filled(row, c) for c in self.columns)]
        first = min(unfilled[0] if unfilled else 0, max(0, len(self.rows) - most))
        head = ["", *(column[:WIDTH] for column in self.columns)]
        shown = [[row, *(self.cells.get((row, c), "") for c in self.columns)] for row in self.rows[first:][:most]]
        return to_text(head, shown)

    def close(self) -> None:
        """The whole table, at the end of a log; a terminal shows it already."""
        if not self.on_terminal:
            print(self.text(len(self.rows)), end="", flush=True)

    def filled(self, row: str, column: str) -> bool:
        return self.cells.get((row, column), RUNNING) != RUNNING
