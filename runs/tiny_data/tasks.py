"""What the miniature's models are asked: three tasks with options to choose from, and instructions to tune on.

No sentence of acceptability and no review stands in the corpus; `seen` holds what does, and grows.
"""

import random
import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from runs.tiny_data.danish import (
    ADJECTIVE,
    FACTS,
    GRAMMAR,
    NAMES,
    NOUN,
    PREDICATE,
    VERDICTS,
    Adjective,
    main_clause,
    noun_phrase,
    phrase,
    review,
)
from runs.tiny_data.grammar import sentence, split

T = TypeVar("T", tuple[str], tuple[str, str])
# Each corruption changes one thing. The second shortens a sentence, the fourth lengthens it and the others do neither:
# a model that only prefers short sentences is right half of the time.
CORRUPTIONS = ("gender", "adjective", "verb second", "double definiteness", "noun before adjective")
DICTIONARY = """
    hund dog; kat cat; hest horse; ko cow; gris pig; ræv fox; fisk fish; bog book; stol chair; bord table; hus house;
    by town; sø lake; skov forest; skole school; kirke church; brød bread; æble apple; kage cake; ost cheese;
    nøgle key; lampe lamp; frakke coat; skjorte shirt; kniv knife; rød red; blå blue; grøn green; sort black;
    hvid white; stor big; gammel old; ny new; glad happy; træt tired; købe buy; sælge sell; finde find; spise eat"""
REQUESTS = {
    "fact": ["{question}", "Svar på spørgsmålet: {question}"],
    "review": ["Er anmeldelsen god, blandet eller dårlig?", "Hvordan var oplevelsen?"],
    "correct": ["Ret sætningen.", "Der er en fejl i sætningen. Ret den."],
    "write": ["Skriv en sætning om {thing}.", "Fortæl noget om {thing}."],
    "translate": ["Oversæt ordet til {language}.", "Hvad hedder ordet på {language}?"],
}
REQUEST_SHARES = (0.3, 0.25, 0.25, 0.15, 0.05)


def fresh(make: Callable[[], T], seen: set[str]) -> T:
    """The first that `make` gives of which nothing has been seen."""
    made = make()
    while seen.intersection(made):
        made = make()
    seen.update(made)
    return made


def is_regular(adjective: Adjective) -> bool:
    """Whether common gender, neuter and definite differ (unlike moderne, brugt, blå, lille)."""
    return len({adjective.common, adjective.neuter, adjective.definite}) == 3


def minimal_pair(rng: random.Random, corruption: str) -> tuple[str, str]:
    """A correct sentence, and the same one with one thing wrong."""
    predicate = rng.choice([entry for entry in PREDICATE if "{x:" in entry.rest])
    slot, kind = re.findall(r"(\{x:(\w+)\})", predicate.rest)[0]
    rest = GRAMMAR.text(rng, predicate.rest.replace(slot, "{thing}").replace("{x:", "{en:"), thing="THING")
    name, time = rng.choice(NAMES)[0], GRAMMAR.text(rng, "{time}")
    noun = rng.choice(NOUN[kind])
    adjective = rng.choice([entry for entry in ADJECTIVE[kind] if is_regular(entry)])
    definite, indefinite = noun_phrase(noun, "den", adjective), noun_phrase(noun, "en", adjective)

    def say(thing: str) -> str:
        return sentence(main_clause(name, predicate.past, rest.replace("THING", thing), front=time))

    match corruption:
        case "gender":
            other = noun._replace(gender="et" if noun.gender == "en" else "en")
            return say(noun_phrase(noun, "en")), say(noun_phrase(other, "en"))
        case "adjective":  # et stor hus, den stor by
            right = rng.choice([definite, indefinite]) if noun.gender == "et" else definite
            article, _, bare = right.split()
            return say(right), say(f"{article} {adjective.common} {bare}")
        case "verb second":
            return say(definite), sentence(f"{time} {name} {predicate.past} {rest.replace('THING', definite)}")
        case "double definiteness":  # det store huset
            article, inflected, _ = definite.split()
            return say(definite), say(f"{article} {inflected} {noun.definite}")
        case _:
            article, inflected, bare = indefinite.split()
            return say(indefinite), say(f"{article} {bare} {inflected}")


def question(task: str, number: int, prompt: str, options: list[str], answer: int) -> dict[str, Any]:
    """A row of a task file."""
    row_id = f"{task}-{number:04d}"
    return {"id": row_id, "prompt": prompt, "options": options, "answer": answer, "split": "test"}


def acceptability(rng: random.Random, count: int, seen: set[str]) -> list[dict[str, Any]]:
    """Which of two sentences is Danish; options are whole sentences."""
    rows = []
    for number in range(count):
        corruption = CORRUPTIONS[number % len(CORRUPTIONS)]
        pair = fresh(partial(minimal_pair, rng, corruption), seen)
        answer = rng.randrange(2)
        rows.append(question("acceptability", number, "", [pair[answer], pair[1 - answer]], answer))
    return rows


def unjudged_review(rng: random.Random, verdict: str) -> tuple[str]:
    """A review up to its verdict."""
    return (review(rng, verdict).removesuffix(f" {verdict}."),)


def sentiment(rng: random.Random, count: int, seen: set[str]) -> list[dict[str, Any]]:
    """The last word of a review, which is its verdict."""
    verdicts = (list(VERDICTS) * count)[:count]
    rng.shuffle(verdicts)
    options = [f" {verdict}" for verdict in VERDICTS]
    prompts = [fresh(partial(unjudged_review, rng, verdict), seen)[0] for verdict in verdicts]
    return [
        question("sentiment", number, prompt, options, options.index(f" {verdict}"))
        for number, (prompt, verdict) in enumerate(zip(prompts, verdicts, strict=True))
    ]


def knowledge(rng: random.Random, count: int) -> list[dict[str, Any]]:
    """The end of a statement about an invented town or person, among the ends of such statements about others."""
    rows: list[dict[str, Any]] = []
    asked: set[tuple[str, ...]] = set()
    while len(rows) < count:
        fact = rng.choice(FACTS)
        statement = rng.choice([text for text in fact.statements if text.endswith(" {answer}")])
        prompt = sentence(statement).removesuffix(" {answer}.")
        others = sorted({other.answer for other in FACTS if other.kind == fact.kind} - {fact.answer})
        options = sorted([fact.answer, *rng.sample(others, 3)])
        if (prompt, *options) not in asked:
            asked.add((prompt, *options))
            rng.shuffle(options)
            answer = options.index(fact.answer)
            rows.append(question("knowledge", len(rows), prompt, [f" {option}" for option in options], answer))
    return rows


def instruction(rng: random.Random, seen: set[str]) -> tuple[str, str, str]:
    """One request with its input, which may be empty, and the answer to learn."""
    kind = rng.choices(list(REQUESTS), REQUEST_SHARES)[0]
    request = rng.choice(REQUESTS[kind])
    match kind:
        case "fact":
            fact = rng.choice(FACTS)
            return request.format(question=fact.question), "", sentence(fact.stated(rng))
        case "review":
            verdict = rng.choice(list(VERDICTS))
            (text,) = fresh(partial(unjudged_review, rng, verdict), seen)
            return request, text.removesuffix(" Alt i alt var oplevelsen"), f"Oplevelsen var {verdict}."
        case "correct":
            right, wrong = fresh(partial(minimal_pair, rng, rng.choice(CORRUPTIONS)), seen)
            return request, wrong, right
        case "write":
            thing = phrase(rng, "en", "animal")
            text = GRAMMAR.text(rng, "{time} så {name} {thing} {i:nature}", thing=thing)
            return request.format(thing=thing), "", sentence(text)
        case _:
            danish, english = rng.choice(split(DICTIONARY)).split()
            if rng.random() < 0.5:
                return request.format(language="engelsk"), danish, english
            return request.format(language="dansk"), english, danish


def instructions(rng: random.Random, count: int, seen: set[str]) -> list[dict[str, str]]:
    """Rows of instruction, input and output, all different."""
    rows: dict[tuple[str, str, str], None] = {}
    while len(rows) < count:
        rows[instruction(rng, seen)] = None
    return [dict(zip(("instruction", "input", "output"), row, strict=True)) for row in rows]
