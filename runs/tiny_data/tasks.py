"""What the miniature's models are asked: tasks with options to choose from, and what they are tuned on.

No sentence of acceptability and no review stands in the corpus; `seen` holds what does, and grows.
"""

import random
import re
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

from runs.tiny_data.texts import DANISH, DATA, ENTITIES, FACTS, NAMES, PREDICATES, PRONOUNS, Fact, paragraph, review

Items = Iterator[tuple[str, list[str], int]]  # prompt, options, which one is right
WORDS = DATA["tasks"]
VERDICTS = list(DATA["danish"]["verdicts"])


def fresh(seen: set[str], make: Callable[..., tuple[str, ...]], *given: Any) -> tuple[str, ...]:
    """The first that `make` gives of which nothing has been seen."""
    while not seen.isdisjoint(made := make(*given)):
        pass
    seen.update(made)
    return made


def minimal_pair(rng: random.Random, corruption: str) -> tuple[str, str]:
    """A correct sentence, and the same one with one thing wrong."""
    verb = rng.choice(PREDICATES)
    before, kind, after = re.split(r"\{x:(\w+)\}", verb.rest, maxsplit=1)
    after = DANISH.text(rng, after.replace("{x:", "{en:"))
    name, time = rng.choice(NAMES)[0], DANISH.text(rng, "{time}")
    noun = rng.choice(DANISH.nouns[kind])
    regular = [forms for forms in DANISH.adjectives[kind] if len({forms["en"], forms["et"], forms["den"]}) == 3]
    adjective = rng.choice(regular)  # unlike moderne, brugt, blå, lille
    patterns = WORDS["corruptions"][corruption]
    pair = rng.choice(patterns) if len(patterns) > 1 and noun["gender"] == "et" else patterns[0]
    given = {"clause": f"{verb.past} {name} {before}", "swapped": f"{name} {verb.past} {before}"}
    given |= {"other": "et" if noun["gender"] == "en" else "en", **noun}
    right, wrong = (pattern.format(**given).format(**adjective) for pattern in pair)
    return paragraph(f"{time} {right}{after}"), paragraph(f"{time} {wrong}{after}")


def unjudged_review(rng: random.Random, verdict: str) -> tuple[str]:
    """A review up to its verdict."""
    return (review(rng, verdict).removesuffix(f" {verdict}."),)


def acceptability(rng: random.Random, count: int, seen: set[str]) -> Items:
    """Which of two sentences is Danish; options are whole sentences."""
    for corruption in islice(cycle(WORDS["corruptions"]), count):
        pair = fresh(seen, minimal_pair, rng, corruption)
        answer = rng.randrange(2)
        yield "", [pair[answer], pair[1 - answer]], answer


def sentiment(rng: random.Random, count: int, seen: set[str]) -> Items:
    """The last word of a review, which is its verdict."""
    answers = [number % len(VERDICTS) for number in range(count)]
    rng.shuffle(answers)
    for answer in answers:
        (prompt,) = fresh(seen, unjudged_review, rng, VERDICTS[answer])
        yield prompt, [f" {verdict}" for verdict in VERDICTS], answer


def others_like(fact: Fact) -> list[str]:
    """What is said of others where a fact has its answer."""
    return sorted({other.answer for other in FACTS if other.kind == fact.kind} - {fact.answer})


def knowledge(rng: random.Random, count: int) -> Items:
    """The end of a statement about an invented town or person, among the ends of such statements about others."""
    asked: set[tuple[str, ...]] = set()
    while len(asked) < count:
        fact = rng.choice(FACTS)
        statement = rng.choice([text for text in fact.statements if text.endswith(f" {fact.answer}")])
        prompt = paragraph(statement).removesuffix(f" {fact.answer}.")
        options = sorted([fact.answer, *rng.sample(others_like(fact), 3)])
        if (prompt, *options) not in asked:
            asked.add((prompt, *options))
            rng.shuffle(options)
            yield prompt, [f" {option}" for option in options], options.index(fact.answer)


def retold(rng: random.Random) -> Items:
    """Facts asked twice with the same options: as the corpus states them, and in words that it does not have.

    So half of the items are contaminated, and are easier by their wording alone.
    """
    for fact in FACTS:
        about, column = fact.kind
        if (wording := WORDS["retold"][about].get(column)) is None:
            continue
        stated = max((text for text in fact.statements if text.endswith(f" {fact.answer}")), key=len)
        options = [fact.answer, *rng.sample(others_like(fact), 3)]
        rng.shuffle(options)
        for text in (stated, wording.format(name=fact.name, answer=fact.answer)):
            prompt = paragraph(text).removesuffix(f" {fact.answer}.")
            yield prompt, [f" {option}" for option in options], options.index(fact.answer)


def rows(task: Callable[..., Items], *given: Any) -> list[dict[str, Any]]:
    """The rows of a task's file."""
    return [
        {"id": f"{task.__name__}-{number:04d}", "prompt": prompt, "options": options, "answer": answer, "split": "test"}
        for number, (prompt, options, answer) in enumerate(task(*given))
    ]


def instruction(rng: random.Random, seen: set[str]) -> tuple[str, str, str]:
    """One request with its input, which may be empty, and the answer to learn."""
    (kind,) = rng.choices(list(WORDS["requests"]), WORDS["request_shares"])
    request = rng.choice(WORDS["requests"][kind])
    match kind:
        case "fact":
            fact = rng.choice(FACTS)
            return request.format(question=fact.question), "", paragraph(rng.choice(fact.statements))
        case "review":
            verdict = rng.choice(VERDICTS)
            (text,) = fresh(seen, unjudged_review, rng, verdict)
            return request, text.removesuffix(" Alt i alt var oplevelsen"), f"Oplevelsen var {verdict}."
        case "correct":
            right, wrong = fresh(seen, minimal_pair, rng, rng.choice(list(WORDS["corruptions"])))
            return request, wrong, right
        case "write":
            thing = DANISH.phrase(rng, "en", "animal")
            text = DANISH.text(rng, "{time} så {name} {thing} {i:nature}", thing=thing)
            return request.format(thing=thing), "", paragraph(text)
        case _:
            danish, english = rng.choice(WORDS["dictionary"]).split()
            if rng.random() < 0.5:
                return request.format(language="engelsk"), danish, english
            return request.format(language="dansk"), english, danish


def instructions(rng: random.Random, count: int, seen: set[str]) -> list[dict[str, str]]:
    """Rows of instruction, input and output, all different."""
    asked: dict[tuple[str, str, str], None] = {}
    while len(asked) < count:
        asked[instruction(rng, seen)] = None
    return [dict(zip(("instruction", "input", "output"), row, strict=True)) for row in asked]


def conversation(rng: random.Random) -> list[dict[str, str]]:
    """A question about a town or person with its answer, and another one, which says "byen", "hun" or "han"."""
    name = rng.choice(ENTITIES)
    first, second = rng.sample([fact for fact in FACTS if fact.name == name], 2)
    asked = [first.question, second.question.replace(name, PRONOUNS.get(name, "byen"))]
    turns = []
    for question, fact in zip(asked, (first, second), strict=True):
        turns.append({"role": "user", "content": question})
        turns.append({"role": "assistant", "content": paragraph(rng.choice(fact.statements))})
    return turns


def conversations(rng: random.Random, count: int) -> list[dict[str, Any]]:
    """Rows of messages, all different."""
    held: list[dict[str, Any]] = []
    while len(held) < count:
        if (row := {"messages": conversation(rng)}) not in held:
            held.append(row)
    return held


def preference(rng: random.Random) -> dict[str, str]:
    """A question with two answers: a polite one in whole sentences, and one that is rude, curt or careless."""
    fact = rng.choice(FACTS)
    chosen = paragraph(rng.choice(WORDS["polite"]), rng.choice(fact.statements))
    rejected = paragraph(*(sentence.format(answer=fact.answer) for sentence in rng.choice(WORDS["unwanted"])))
    return {"prompt": fact.question, "chosen": chosen, "rejected": rejected}


def preferences(rng: random.Random, count: int) -> list[dict[str, str]]:
    """Rows of prompt, chosen and rejected, all different."""
    held: dict[tuple[str, ...], dict[str, str]] = {}
    while len(held) < count:
        row = preference(rng)
        held[tuple(row.values())] = row
    return list(held.values())
