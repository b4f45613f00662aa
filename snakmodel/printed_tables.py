"""A table as plain text, Markdown, HTML, and LaTeX with booktabs; what a name holds cannot break the latter three."""

import html
import re

Row = list[str]  # the first cell is a name, the others are numbers
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--"}
LATEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}


def thousands(number: int | None) -> str:
    """ "12,500"; a dash for what is not known."""
    return "–" if number is None else f"{number:,}"


def escape_markdown(text: str) -> str:
    """Text as one cell, or one run of words, of Markdown: on one line, with nothing that means markup or HTML."""
    return re.sub(r"([\\|_*`\[\]])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")


def escape_latex(text: str) -> str:
    """Text as one cell of LaTeX."""
    return "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))


def to_markdown(head: Row, rows: list[Row], names: int = 1) -> str:
    """The table as Markdown; the first `names` columns hold text, the others numbers."""
    rule = ["--"] * names + ["--:"] * (len(head) - names)
    lines = [[escape_markdown(cell) for cell in row] for row in (head, *rows)]
    lines.insert(1, rule)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_text(head: Row, rows: list[Row], names: int = 1) -> str:
    """The table as columns of plain text; the first `names` are aligned on the left, the others on the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    aligns = [str.ljust] * names + [str.rjust] * (len(head) - names)
    lines = [
        "  ".join(align(cell, width) for align, cell, width in zip(aligns, row, widths, strict=True))
        for row in (head, *rows)
    ]
    return "".join(line.rstrip() + "\n" for line in lines)


def to_html(head: Row, rows: list[Row], title: str, note: str, names: int = 1) -> str:
    """The table as HTML with a caption; the first `names` columns hold text, the others numbers."""
    align = ["left"] * names + ["right"] * (len(head) - names)

    def line(cells: Row, tag: str) -> str:
        pairs = zip(cells, align, strict=True)
        return "<tr>" + "".join(f'<{tag} style="text-align:{a}">{html.escape(c)}</{tag}>' for c, a in pairs) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    caption = f"<caption><strong>{html.escape(title)}</strong><br>{html.escape(note)}</caption>"
    return f"<table>\n{caption}\n<thead>{line(head, 'th')}</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"


def to_latex(head: Row, rows: list[Row], names: int = 1, last: int = 0) -> str:
    """The table as LaTeX; the `last` rows, the sums, stand below a rule."""
    lines = [" & ".join(map(escape_latex, row)) + r" \\" for row in (head, *rows)]
    body = lines[1 : len(lines) - last]
    foot = [r"\midrule", *lines[len(lines) - last :]] if last else []
    columns = "l" * names + "r" * (len(head) - names)
    whole = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        lines[0],
        r"\midrule",
        *body,
        *foot,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(whole) + "\n"
