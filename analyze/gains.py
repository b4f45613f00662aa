"""What a series has gained and lost: bits per byte of each language and source, with intervals, and the table of it.

The same documents are measured at every step, so a change is a sum over pairs, and its interval is much narrower than
those of the two values. Shapes: N documents, S resamples.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snakmodel.printed_tables import thousands

Row = dict[str, Any]
Column = NDArray[np.float64]
Matrix = NDArray[np.float64]
PERCENT = (2.5, 97.5)  # ends of a 95 % interval


@cache  # every step has the same draws, so that steps too are compared in pairs
def resample(count: int, resamples: int, seed: int) -> Matrix:
    """How often each document is drawn in each resample [S, N]: as many as there are, with replacement."""
    draws_SN = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return draws_SN.astype(np.float64)


def with_interval(bits_N: Column, bytes_N: Column, draws_SN: Matrix) -> Row:
    """Sum of bits / sum of bytes, and its 95 % percentile bootstrap interval over documents (Efron 1979)."""
    low, high = np.percentile((draws_SN @ bits_N) / (draws_SN @ bytes_N), PERCENT).tolist()
    return {"value": float(bits_N.sum() / bytes_N.sum()), "low": low, "high": high}


def ledger_rows(now: list[Row], before: list[Row], resamples: int, seed: int) -> Iterator[Row]:
    """Of one step: `bits_per_byte` and its `change` for each language, and for each of its sources.

    now, before: language, source, bytes and bits of the same documents at this step and at the one it is compared with.
    """
    assert [row["id"] for row in now] == [row["id"] for row in before], "other documents"
    languages = dict.fromkeys((row["language"], None) for row in now)
    for language, source in [*languages, *dict.fromkeys((row["language"], row["source"]) for row in now)]:
        mine = [n for n, row in enumerate(now) if row["language"] == language and source in (None, row["source"])]
        bytes_N = np.array([now[n]["bytes"] for n in mine], dtype=float)
        bits_N, before_N = (np.array([rows[n]["bits"] for n in mine]) for rows in (now, before))
        draws_SN = resample(len(mine), resamples, seed)
        what = {"language": language, "source": source, "documents": len(mine), "bytes": int(bytes_N.sum())}
        for measure, column_N in (("bits_per_byte", bits_N), ("change", bits_N - before_N)):
            numbers = with_interval(column_N, bytes_N, draws_SN)
            yield what | {"measure": measure, "unit": "bits per byte"} | numbers


def verdict(change: Row) -> str:
    """What the interval of a change says: fewer bits are better."""
    return "better" if change["high"] < 0 else "worse" if change["low"] > 0 else "no change seen"


def steps_table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and lines of the table: a line a step, for each language its bits per byte and what became of them."""
    rows = [row for row in rows if row["source"] is None]
    languages = list(dict.fromkeys(row["language"] for row in rows))
    cells = {(row["series"], row["step"], row["language"], row["measure"]): row for row in rows}
    head = ["series", "step", "against", "tokens"]
    head += [title for language in languages for title in (f"{language}: bits per byte", f"{language}: change")]
    lines = []
    for series, step in dict.fromkeys((row["series"], row["step"]) for row in rows):
        first = next(row for row in rows if (row["series"], row["step"]) == (series, step))
        line = [series, str(step), first["against"], thousands(first["tokens"])]
        for language in languages:
            value, change = (cells.get((series, step, language, name)) for name in ("bits_per_byte", "change"))
            line += [tell(value), tell(change)] if value and change else ["–", "–"]
        lines.append(line)
    return head, lines


def sources_table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and lines of the last step of each series: a line a source."""
    last = {row["series"]: row["step"] for row in sorted(rows, key=lambda row: row["step"])}
    rows = [row for row in rows if row["source"] is not None and row["step"] == last[row["series"]]]
    keys = ("series", "step", "language", "source")
    lines: dict[tuple[Any, ...], list[str]] = {}
    for row in rows:
        line = lines.setdefault(tuple(row[key] for key in keys), [f"{row['documents']:,}", f"{row['bytes']:,}"])
        line.append(tell(row))
    head = [*keys, "documents", "bytes", "bits per byte", "change"]
    return head, [[*map(str, names), *line] for names, line in lines.items()]


def tell(row: Row) -> str:
    """ "1.234 (1.201 to 1.267)"; of a change its sign, and what it means."""
    if row["measure"] != "change":
        return f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
    if row["value"] == row["low"] == row["high"] == 0:
        return "–"  # against itself
    return f"{row['value']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}) {verdict(row)}"
