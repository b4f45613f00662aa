"""Templates with slots: the grammar that all languages of the miniature's data share. Its words lie in YAML files.

A table is text: "one; two; three". In a template {word} takes an entry of that table, which may have slots itself,
and {form:kind} a noun phrase of that kind in that form.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakmodel.config import load_yaml

SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")
NUMBERS = {
    "n": [str(number) for number in range(11, 90)],
    "day": [str(day) for day in range(1, 29)],
    "year": [str(year) for year in range(1890, 2020)],
    "lifetime": [str(year) for year in range(1940, 2000)],
}


@dataclass(frozen=True)
class Grammar:
    tables: dict[str, list[str]]
    phrase: Callable[[random.Random, str, str], str]  # a noun phrase of a form and kind

    def text(self, rng: random.Random, template: str, **given: str) -> str:
        """A template with its slots filled; `given` are the words that the caller decides."""

        def fill(match: re.Match[str]) -> str:
            word, kind = match.groups()
            if kind:
                return self.phrase(rng, word, kind)
            return given[word] if word in given else self.text(rng, rng.choice(self.tables[word]), **given)

        return SLOT.sub(fill, template)

    def prose(self, rng: random.Random, table: str, low: int, high: int, **given: str) -> list[str]:
        """Between `low` and `high` clauses of a table, none of the same template twice."""
        return [
            self.text(rng, template, **given) for template in rng.sample(self.tables[table], rng.randint(low, high))
        ]


def read_words(name: str) -> dict[str, Any]:
    """The tables of NAME.yaml."""
    return load_yaml(Path(__file__).with_name(f"{name}.yaml"))


def split(table: str) -> list[str]:
    """The entries of a table."""
    return [entry.strip() for entry in table.split(";")]


def split_all(tables: dict[str, str]) -> dict[str, list[str]]:
    """The entries of tables; a name may stand for several: "shop place"."""
    return {name: split(table) for names, table in tables.items() for name in names.split()}


def sentence(text: str) -> str:
    """Opens with a capital letter and ends with a full stop, where it has no end of its own."""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".?!" else ".")


def paragraph(clauses: list[str]) -> str:
    """Clauses as sentences in one line."""
    return " ".join(map(sentence, clauses))
