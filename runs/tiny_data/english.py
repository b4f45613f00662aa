"""English texts of four genres for the base model: stories, nature, news, and articles about towns of its own."""

import random

from runs.tiny_data.grammar import NUMBERS, Grammar, paragraph, read_words, split, split_all

WORDS = read_words("english")
NOUN = {kind: [entry.split() for entry in table] for kind, table in split_all(WORDS["nouns"]).items()}
ADJECTIVE = split_all(WORDS["adjectives"])
VERB = [entry.split(" | ") for entry in split(WORDS["verbs"])]
TOWN = [row.split(" | ") for row in split(WORDS["towns"])]


def phrase(rng: random.Random, form: str, kind: str) -> str:
    """A noun phrase: "a" an old cup, "the" the old cup, "some" old cups, "in" in the old church."""
    *preposition, singular, plural = rng.choice(NOUN[kind])
    adjective = [rng.choice(ADJECTIVE[kind])] if rng.random() < 0.5 else []
    words = [*adjective, plural if form == "some" else singular]
    article = {"a": "an" if words[0][0] in "aeiou" else "a", "some": ""}.get(form, "the")
    return " ".join([*(preposition if form == "in" else []), article, *words]).strip()


GRAMMAR = Grammar({**split_all(WORDS["tables"]), **NUMBERS, "town": [row[0] for row in TOWN]}, phrase)


def event(rng: random.Random, who: str, friend: str) -> str:
    """What somebody did."""
    forms, rest = rng.choice(VERB)
    past, participle = forms.split()
    did, had_done = GRAMMAR.text(rng, f"{past} {rest}"), GRAMMAR.text(rng, f"{participle} {rest}")
    frames = [
        "{later} {who} {did}",
        "{who} had never {had_done} before",
        "when {friend} {did}, {who} was {mood}",
        "{friend} said that {who} had {had_done}",
        "{who} {did}, but {friend} did not see it",
        "why had {friend} {had_done}?",
        "it was {the:person} who {did}",
        "{who} and {friend} also {did}",
    ]
    return GRAMMAR.text(rng, rng.choice(frames), who=who, friend=friend, did=did, had_done=had_done)


def story(rng: random.Random) -> str:
    who, friend = rng.sample(GRAMMAR.tables["name"], 2)
    opening = GRAMMAR.text(rng, "{time} {who} met {friend} {in:place}", who=who, friend=friend)
    events = [event(rng, who, friend) for _ in range(rng.randint(3, 4))]
    return paragraph([opening, *events, GRAMMAR.text(rng, "{dusk}", who=who)])


def nature(rng: random.Random) -> str:
    return paragraph(GRAMMAR.prose(rng, "animals", 4, 6))


def news(rng: random.Random) -> str:
    town = rng.choice(GRAMMAR.tables["town"])
    parts = [("lead", 1, 1), ("detail", 2, 4), ("end", 1, 1)]
    return paragraph([clause for part in parts for clause in GRAMMAR.prose(rng, *part, town=town)])


def article(rng: random.Random) -> str:
    """What is known of a town, in some order and some wording, and what varies."""
    row = rng.choice(TOWN)
    known = [rng.choice(wordings).format(name=row[0], answer=row[column]) for column, *wordings in WORDS["facts"]]
    clauses = [*rng.sample(known, rng.randint(3, 5)), *GRAMMAR.prose(rng, "about", 2, 2)]
    rng.shuffle(clauses)
    return paragraph(clauses)


GENRES = {story: 0.4, nature: 0.15, news: 0.2, article: 0.25}  # share of the documents
