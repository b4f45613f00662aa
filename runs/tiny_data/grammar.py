"""Templates with slots: the small part of grammar that all languages of the miniature's data share."""

import random
import re
from collections.abc import Callable

Tables = dict[str, list[str]]
SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")


def split(table: str) -> list[str]:
    """The entries of a table written as "one; two; three", over as many lines as it takes."""
    return [" ".join(entry.split()) for entry in table.split(";") if entry.strip()]


def fill(
    rng: random.Random, template: str, tables: Tables, phrase: Callable[[random.Random, str, str], str] | None = None
) -> str:
    """Fills every slot: {name} takes a random entry of that table, filled in turn; {form:kind} asks `phrase`."""

    def one(match: re.Match[str]) -> str:
        name, kind = match.groups()
        if kind is None:
            return fill(rng, rng.choice(tables[name]), tables, phrase)
        assert phrase is not None, f"{template}: no phrases here"
        return phrase(rng, name, kind)

    return SLOT.sub(one, template)


def sentence(text: str) -> str:
    """Opens with a capital letter and ends with a full stop, where it has no end of its own."""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".?!" else ".")


def paragraph(clauses: list[str]) -> str:
    """Clauses as sentences in one line."""
    return " ".join(map(sentence, clauses))
