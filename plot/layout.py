"""Several panels in one figure, each with its name, and the legend below them: long names are broken, never cut."""

import re
from collections.abc import Iterable
from typing import Any

from plot.read_back import INSIDE
from plot.style import PAGE, new_figure

SMALL = 7  # points: the print of legends and of panels' names
LETTER, CAPITAL = 0.55, 0.15  # mean width of a letter in parts of its size, and how much wider a capital is
LINE = 0.13  # inches: a line of that print
KEY = 8  # letters: what stands in a legend beside a name
COLUMNS = 3  # of panels


def new_panels(names: list[str], height: float) -> tuple[Any, list[Any]]:
    """A figure with a panel of `height` inches for each name, and these panels, line by line."""
    columns, width = min(COLUMNS, len(names)), PAGE / COLUMNS
    inches = width - 0.3  # with a space between names
    titles = ["\n".join(broken(part, inches) for part in name.split("\n")) for name in names]
    lines = [titles[first : first + columns] for first in range(0, len(titles), columns)]
    extra = LINE * sum(max(title.count("\n") for title in line) for line in lines)
    figure, axes = new_figure(width * max(columns, 2), 0.7 + height * len(lines) + extra, len(lines), columns)
    for panel, title in zip(axes.flat, titles, strict=False):
        panel.set_title(title, fontsize=SMALL)
    for rest in axes.flat[len(names) :]:
        rest.remove()
    return figure, list(axes.flat[: len(names)])


def broken(name: str, inches: float) -> str:
    """A name on as many lines of small print as that width needs; `read_back.whole` makes it one again."""
    capitals = sum(map(str.isupper, name)) / max(len(name), 1)
    letters = max(int(72 * inches / ((LETTER + CAPITAL * capitals) * SMALL)), KEY)
    lines = [""]
    for word in re.findall(rf"[^\s_/-]{{1,{letters - 1}}}[_/-]?\s?|[_/-]?\s|[_/-]", name):  # with the space after it
        if len(lines[-1] + word.rstrip()) > letters:
            lines[-1] += "" if lines[-1].endswith(" ") else INSIDE
            lines.append("")
        lines[-1] += word
    return "\n".join(line.strip(" ") for line in lines)


def add_legend(figure: Any, handles: dict[str, Any], most: int, **options: Any) -> None:
    """A legend below all panels, in `most` columns, of long names in fewer; the figure grows for them and a title."""
    inches, longest = figure.get_figwidth(), max(map(len, handles), default=0) + KEY
    columns = min(most, max(int(72 * inches / (LETTER * SMALL) / longest), 1))
    texts = [broken(name, inches / columns - KEY * LETTER * SMALL / 72) for name in handles]
    lines = sum(text.count("\n") + 1 for text in texts) / columns - len(texts) / most + ("title" in options)
    figure.set_figheight(figure.get_figheight() + LINE * max(lines, 0))
    figure.legend(handles.values(), texts, loc="outside lower center", ncols=columns, **options)


def handles_of(panels: Iterable[Any]) -> dict[str, Any]:
    """What a legend of these panels names, each once."""
    handles: dict[str, Any] = {}
    for panel in panels:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    return handles
