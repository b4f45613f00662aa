"""What the report is made of: sections with sentences, tables and figures, and how their cells are written."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

NUMBER = re.compile(r"–|-?[\d,.e+ :-]+( \[.*\])?( GB| s| min .*| h .*)?")  # times and dates too


@dataclass(frozen=True)
class Table:
    caption: str
    head: list[str]
    rows: list[list[str]]  # a row's first cell names it
    language: str | None = None  # of the cells, where it is not English

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers only, and are set flush right."""
        return [all(NUMBER.fullmatch(cell) for cell in column) for column in zip(*self.rows, strict=True)]


@dataclass(frozen=True)
class Figure:
    alternative: str  # its text: the title, the axes, then the numbers
    png: str  # base64
    size: tuple[int, int]  # width and height on the page, in CSS pixels


@dataclass
class Section:
    title: str
    sentences: dict[str, list[str]] = field(default_factory=dict)  # heading ("" for none) -> sentences
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    details: list[tuple[str, str]] = field(default_factory=list)  # summary and preformatted text
    not_run: list[str] = field(default_factory=list)  # scripts whose output would stand here

    @property
    def anchor(self) -> str:
        return self.title.lower().replace(" ", "-")


def number(value: float | None, digits: int = 0) -> str:
    """ "12,345.6"; an en dash for what is not known."""
    return "–" if value is None else f"{value:,.{digits}f}"


def seconds(value: float) -> str:
    """ "3.4 s", "12 min 5 s", "93 h 12 min"."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def short_commit(commit: str) -> str:
    """Twelve digits of a commit, with "+changes" kept."""
    digits, plus, changes = commit.partition("+")
    return digits[:12] + plus + changes


def joined(values: Iterable[str]) -> str:
    """Distinct values in their order, with commas."""
    return ", ".join(dict.fromkeys(values))


def heading(name: str) -> str:
    """ "planted_noise" -> "Planted noise"."""
    return name.replace("_", " ").capitalize()


def cell(value: Any) -> str:
    """A value of any kind as a table shows it: numbers with four significant digits, whole ones with separators."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
