"""Small evaluation sets in ScandEval's format, of the tasks that tasks.py does not have."""

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

from runs.tiny_data.texts import DATA, ENTITIES, FACTS, NAMES, PRONOUNS, TOWNS, paragraph

WORDS = DATA["sets"]
SPLITS = {"train": 24, "val": 8, "test": 24}  # items
KINDS = {"PER": [name for name, _ in NAMES] + list(PRONOUNS), "LOC": TOWNS}
KINDS |= {"ORG": WORDS["organisations"], "MISC": WORDS["works"]}

Row = dict[str, Any]


def with_options(rng: random.Random, question: str, right: str, others: Sequence[str]) -> Row:
    """A question with four options in its text, and the letter of the right one."""
    options = [right, *rng.sample(list(others), 3)]
    rng.shuffle(options)
    lines = [f"{letter}. {option}" for letter, option in zip("abcd", options, strict=True)]
    return {"text": "\n".join([question, "Svarmuligheder:", *lines]), "label": "abcd"[options.index(right)]}


def common_sense(rng: random.Random) -> Row:
    """What somebody does, among what others would do."""
    name, pronoun = rng.choice(NAMES)
    situation, action = rng.choice(WORDS["situations"])
    others = [f"{pronoun} {other}" for _, other in WORDS["situations"] if other != action]
    return with_options(rng, f"{name} {situation}. Hvad gør {pronoun}?", f"{pronoun} {action}", others)


def citizenship(rng: random.Random) -> Row:
    """A question about an invented town or person."""
    fact = rng.choice(FACTS)
    others = sorted({other.answer for other in FACTS if other.kind == fact.kind} - {fact.answer})
    return with_options(rng, fact.question, fact.answer, others)


def entities(rng: random.Random) -> Row:
    """A sentence as tokens with their tags."""
    tokens: list[str] = []
    labels: list[str] = []
    for token in rng.choice(WORDS["entity_sentences"]).split():
        kind = re.sub(r"\W", "", token) if token.startswith("{") else ""
        words = rng.choice(KINDS[kind]).split() if kind else [token]
        tokens += words
        labels += [f"{'I' if number else 'B'}-{kind}" if kind else "O" for number in range(len(words))]
    return {"text": " ".join(tokens), "tokens": tokens, "labels": labels}


def reading(rng: random.Random) -> Row:
    """A question, and a text that answers it."""
    name = rng.choice(ENTITIES)
    fact, *others = rng.sample([fact for fact in FACTS if fact.name == name], 3)
    told = [rng.choice(each.statements) for each in (fact, *others)]
    rng.shuffle(told)
    context = paragraph(*told)
    answers = {"text": [fact.answer], "answer_start": [context.find(fact.answer)]}
    return {"context": context, "question": fact.question, "answers": answers}


def summary(rng: random.Random) -> Row:
    """A text about a town or a person, and its first statement in other words."""
    name = rng.choice(ENTITIES)
    first, *others = rng.sample([fact for fact in FACTS if fact.name == name], 3)
    told, retold = rng.sample(first.statements, 2)
    text = paragraph(told, *(rng.choice(fact.statements) for fact in others))
    return {"text": text, "target_text": paragraph(retold)}


def rows(make: Callable[[random.Random], Row], rng: random.Random) -> dict[str, list[Row]]:
    """The rows of each split, all different."""
    made: list[Row] = []
    while len(made) < sum(SPLITS.values()):
        if (row := make(rng)) not in made:
            made.append(row)
    splits = {}
    for split, count in SPLITS.items():
        splits[split], made = made[:count], made[count:]
    return splits


SETS = {"common-sense": common_sense, "citizenship": citizenship, "entities": entities}
SETS |= {"reading": reading, "summary": summary}
