"""A small grammar, and the texts that it writes: seven genres of Danish and, for the base model, four of English.

In a template {word} takes an entry of that table, which may have slots itself, and {form:kind} a noun phrase of that
kind in that form. All words and templates lie in the YAML files beside this one.
"""

import random
import re
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from snakmodel.config import load_yaml

DATA = {path.stem: load_yaml(path) for path in Path(__file__).parent.glob("*.yaml")}
SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")
RANGES = {"n": range(11, 90), "day": range(1, 29), "year": range(1890, 2020), "lifetime": range(1940, 2000)}
NUMBERS = {name: [str(number) for number in numbers] for name, numbers in RANGES.items()}

Predicate = namedtuple("Predicate", "infinitive present past participle rest")
Fact = namedtuple("Fact", "name kind answer question statements")  # facts of one kind have answers of one kind


class Grammar:
    """A language, by what its YAML file says of it, and tables that follow from that."""

    def __init__(self, words: dict[str, Any], **tables: list[str]) -> None:
        self.tables = {**words["tables"], **NUMBERS, **tables}
        self.forms, self.genres = words.get("forms", {}), words.get("genres", [])
        self.nouns, self.adjectives = (
            {
                kind: [dict(zip(words[f"{part}_columns"], entry.split(), strict=False)) for entry in entries]
                for kind, entries in words.get(f"{part}s", {}).items()
            }
            for part in ("noun", "adjective")
        )

    def phrase(self, rng: random.Random, form: str, kind: str) -> str:
        """A random noun phrase, with an adjective every other time."""
        noun = rng.choice(self.nouns[kind])
        adjective = rng.choice(self.adjectives[kind]) if rng.random() < 0.5 else {}
        pattern = self.forms[form][bool(adjective)]
        if form == "er":  # huset er stort: says it in any case
            adjective = rng.choice(self.adjectives[kind])
        return pattern.format(**noun).format(**adjective)

    def text(self, rng: random.Random, template: str, **given: str) -> str:
        """A template with its slots filled; `given` are the words that the caller decides."""

        def fill(match: re.Match[str]) -> str:
            word, kind = match.groups()
            if kind:
                return self.phrase(rng, word, kind)
            return given[word] if word in given else self.text(rng, rng.choice(self.tables[word]), **given)

        return SLOT.sub(fill, template)

    def prose(self, rng: random.Random, table: str, low: int = 1, high: int = 1, **given: str) -> list[str]:
        """Between `low` and `high` clauses of a table, none of the same template twice."""
        templates = rng.sample(self.tables[table], rng.randint(low, high))
        return [self.text(rng, template, **given) for template in templates]

    def passage(self, rng: random.Random, table: str) -> str:
        """A paragraph about one thing."""
        return paragraph(*self.prose(rng, table, 4, 6))


def paragraph(*clauses: str) -> str:
    """Clauses as sentences in one line: with a capital letter and, where they have no end of their own, a full stop."""
    return " ".join(text[0].upper() + text[1:] + ("" if text[-1] in ".?!" else ".") for text in clauses)


WORDS, ENGLISH_WORDS = DATA["danish"], DATA["english"]
PREDICATES = [Predicate(*entry.split(maxsplit=4)) for entry in WORDS["predicates"]]
NAMES = [(name, pronoun) for pronoun, names in WORDS["names"].items() for name in names]
TOWNS = [row[0] for row in WORDS["towns"]]
PRONOUNS = {row[0]: row[1] for row in WORDS["persons"]}
ENTITIES = [*TOWNS, *PRONOUNS]
DANISH = Grammar(WORDS, town=TOWNS, name=[name for name, _ in NAMES])
ENGLISH = Grammar(ENGLISH_WORDS, town=[row[0] for row in ENGLISH_WORDS["towns"]])


def fact_of(about: str, row: list[str], column: int, *wordings: str) -> Fact:
    """What a column says of the town or person in a row: the question, and ways to state it."""
    question, *statements = (wording.format(name=row[0], answer=row[column]) for wording in wordings)
    return Fact(row[0], (about, column), row[column], question, statements)


FACTS = [fact_of(kind, row, *fact) for kind, facts in WORDS["facts"].items() for row in WORDS[kind] for fact in facts]


def predicate(rng: random.Random, form: str = "en") -> Predicate:
    """A random verb with what belongs to it; form "den" where the clause is negated: så ikke den store hund."""
    entry = rng.choice(PREDICATES)
    return entry._replace(rest=DANISH.text(rng, entry.rest.replace("{x:", f"{{{form}:")))


def events(rng: random.Random, who: str, friend: str) -> list[str]:
    """Things that somebody did or did not, one in each of the word orders of the language."""
    verbs = {"did": predicate(rng), "other": predicate(rng), "denied": predicate(rng, "den")}
    given = {"who": who, "friend": friend}
    for word in ("later", "mood", "weekday", "front"):
        given[word] = DANISH.text(rng, f"{{{word}}}", **given)
    given["person"] = DANISH.phrase(rng, "den", "person")
    return [event.format(**verbs, **given) for event in WORDS["events"]]


def narrative(rng: random.Random) -> str:
    (name, pronoun), (friend, _) = rng.sample(NAMES, 2)
    first, time = predicate(rng), DANISH.text(rng, "{time}")
    possible = [events(rng, rng.choice([name, pronoun, pronoun]), friend) for _ in range(rng.randint(2, 4))]
    orders = rng.sample(range(len(WORDS["events"])), len(possible))
    told = [clauses[order] for clauses, order in zip(possible, orders, strict=True)]
    opening = rng.choice([f"{time} {first.past} {name} {first.rest}", f"{name} {first.past} {first.rest} {time}"])
    return paragraph(opening, *told, DANISH.text(rng, "{dusk}", who=pronoun))


def news(rng: random.Random) -> str:
    town, _, _, mayor, *_ = rng.choice(WORDS["towns"])
    prose = partial(DANISH.prose, rng, town=town)
    asked = [f"det ved borgmester {mayor} i {town} ikke noget om"] if rng.random() < 0.4 else []
    return paragraph(*prose("lead"), *prose("detail", 2, 4), *asked, *prose("end"))


def review(rng: random.Random, verdict: str = "") -> str:
    """A review of a meal, a hotel or a show, whose last word is the verdict, or a random one."""
    verdict = verdict or rng.choice(list(WORDS["verdicts"]))
    quality, reaction = WORDS["verdicts"][verdict]
    kind = rng.choice(list(WORDS["aspects"]))
    *single, third, fourth = (aspect.split() for aspect in rng.sample(WORDS["aspects"][kind], 4))

    def judged(aspect: list[str], quality: str, order: str = "{noun} var {word}") -> str:
        gender, noun = aspect
        return order.format(noun=noun, word=rng.choice(DANISH.adjectives[quality])[gender])

    both = f"{judged(third, quality)}, og {judged(fourth, quality)}"
    contrast = f"{judged(third, 'good')}, men {judged(fourth, 'bad')}"
    orders = zip(single, WORDS["opinions"], strict=True)
    opinions = [judged(aspect, quality, rng.choice(wordings)) for aspect, wordings in orders]
    opinions.append(contrast if verdict == "blandet" else both)
    reactions = DANISH.prose(rng, reaction, 2, 2)
    return paragraph(*DANISH.prose(rng, kind), *opinions, *reactions, f"alt i alt var oplevelsen {verdict}")


def encyclopedia(rng: random.Random) -> str:
    """An article about a town or a person: its facts in some order and some wording, and what varies."""
    name = rng.choice(ENTITIES)
    first, *rest = (rng.choice(fact.statements) for fact in FACTS if fact.name == name)
    if name in TOWNS:
        rest = rng.sample(rest, 3) + DANISH.prose(rng, "about_town", 2, 2)
    else:
        lived = [predicate(rng), predicate(rng)]
        rest += [DANISH.text(rng, f"i {{lifetime}} {did.past} {PRONOUNS[name]} {did.rest}") for did in lived]
    rng.shuffle(rest)
    return paragraph(first, *rest)


def questions(rng: random.Random) -> str:
    """Questions and answers about every other town or person, a line each; the others' facts are in articles only."""
    name = rng.choice(ENTITIES[::2])
    facts = [fact for fact in FACTS if fact.name == name]
    facts = rng.sample(facts, min(len(facts), rng.randint(3, 4)))
    pairs = [f"Spørgsmål: {fact.question}\nSvar: {paragraph(rng.choice(fact.statements))}" for fact in facts]
    opening, closing = DANISH.prose(rng, "asker", about=name), DANISH.prose(rng, "answerer")
    return "\n".join([paragraph(*opening), *pairs, paragraph(*closing)])


def english_story(rng: random.Random) -> str:
    who, friend = rng.sample(ENGLISH.tables["name"], 2)
    text = partial(ENGLISH.text, rng, who=who, friend=friend)
    clauses = [text("{time} {who} met {friend} {in:place}")]
    for _ in range(rng.randint(3, 4)):
        past, participle, rest = rng.choice(ENGLISH_WORDS["verbs"]).split(maxsplit=2)
        did, had_done = text(f"{past} {rest}"), text(f"{participle} {rest}")
        clauses.append(text("{event}", did=did, had_done=had_done))
    return paragraph(*clauses, text("{dusk}"))


def english_news(rng: random.Random) -> str:
    prose = partial(ENGLISH.prose, rng, town=rng.choice(ENGLISH.tables["town"]))
    return paragraph(*prose("lead"), *prose("detail", 2, 4), *prose("end"))


def english_article(rng: random.Random) -> str:
    """What is known of a town, in some order and some wording, and what varies."""
    row = rng.choice(ENGLISH_WORDS["towns"])
    facts = [rng.choice(texts).format(name=row[0], answer=row[column]) for column, *texts in ENGLISH_WORDS["facts"]]
    clauses = [*rng.sample(facts, rng.randint(3, 5)), *ENGLISH.prose(rng, "about", 2, 2)]
    rng.shuffle(clauses)
    return paragraph(*clauses)


WRITERS = (narrative, news, review, encyclopedia, questions, english_story, english_news, english_article)


def draw(rng: random.Random, grammar: Grammar, total: int) -> dict[str, list[str]]:
    """`total` texts of a language's genres, by source."""
    writers: dict[str, Callable[[random.Random], str]] = {writer.__name__: writer for writer in WRITERS}
    texts: dict[str, list[str]] = {source: [] for source, _, _ in grammar.genres}
    ends = [round(total * share) for share in accumulate(share for _, _, share in grammar.genres)]
    for (source, genre, _), start, end in zip(grammar.genres, [0, *ends], ends, strict=False):
        write = writers.get(genre) or partial(grammar.passage, table=genre)
        texts[source] += [write(rng) for _ in range(start, end)]
    return texts
