"""Danish texts of seven genres, by a small grammar: noun phrases that agree, clauses that know where the verb goes.

Word order follows the field schema of Danish: the verb is second in a main clause, so that a fronted adverbial
swaps verb and subject, and in a subordinate clause `ikke` and its like stand before the verb.
(P. Diderichsen, Elementær dansk grammatik, 1946.)
"""

import random
from typing import NamedTuple

from runs.tiny_data.danish_words import (
    ADJECTIVES,
    ASPECTS,
    MEN,
    NOUNS,
    PERSON_FACTS,
    PERSONS,
    PREDICATES,
    TABLES,
    TOWN_FACTS,
    TOWNS,
    WOMEN,
)
from runs.tiny_data.grammar import fill, paragraph, sentence, split


class Noun(NamedTuple):
    gender: str  # its article: en or et
    bare: str
    definite: str
    plural: str
    preposition: str = ""

    @property
    def definite_plural(self) -> str:
        if self.plural == self.bare:  # et glas, glasset: glassene
            return self.definite[:-2] + "ene"
        if self.plural.endswith("ere"):  # lærere: lærerne
            return self.plural[:-1] + "ne"
        return self.plural + ("ne" if self.plural.endswith(("e", "er")) else "ene")


class Adjective(NamedTuple):
    common: str
    neuter: str
    plural: str
    definite: str

    def agreeing(self, gender: str) -> str:
        return {"en": self.common, "et": self.neuter, "de": self.plural}[gender]


class Predicate(NamedTuple):
    infinitive: str
    present: str
    past: str
    participle: str
    rest: str


def read_nouns(table: str) -> list[Noun]:
    nouns = []
    for words in map(str.split, split(table)):
        place = [] if words[0] in ("en", "et") else [words.pop(0)]
        nouns.append(Noun(*words, *place))
    return nouns


def read_adjectives(table: str) -> list[Adjective]:
    return [Adjective(*words, *words[-1:] * (4 - len(words))) for words in map(str.split, split(table))]


def read_predicate(entry: str) -> Predicate:
    forms, rest = entry.split(" | ")
    return Predicate(*forms.split(), rest)


NOUN = {kind: read_nouns(table) for kind, table in NOUNS.items()}
ADJECTIVE = {kind: read_adjectives(table) for kinds, table in ADJECTIVES.items() for kind in kinds.split()}
PREDICATE = [read_predicate(entry) for entry in split(PREDICATES)]
TOWN = [row.split(" | ") for row in split(TOWNS)]
PERSON = [row.split(" | ") for row in split(PERSONS)]
WORDS = {name: split(table) for name, table in TABLES.items()} | {
    "town": [row[0] for row in TOWN],
    "year": [str(year) for year in range(1890, 2020)],
    "n": [str(number) for number in range(11, 90)],
    "day": [str(day) for day in range(1, 29)],
}
NAMES = [(name, "hun") for name in split(WOMEN)] + [(name, "han") for name in split(MEN)]


def noun_phrase(noun: Noun, form: str, adjective: Adjective | None = None) -> str:
    """`form`: "en" et stort hus, "den" det store hus (huset), "flere" store huse, "de" de store huse (husene)."""
    if adjective is None:
        plain = {"en": f"{noun.gender} {noun.bare}", "den": noun.definite, "flere": noun.plural}
        return plain.get(form, noun.definite_plural)
    if form == "en":
        return f"{noun.gender} {adjective.agreeing(noun.gender)} {noun.bare}"
    if form == "den":
        return f"{'det' if noun.gender == 'et' else 'den'} {adjective.definite} {noun.bare}"
    return f"{'de ' if form == 'de' else ''}{adjective.plural} {noun.plural}"


def phrase(rng: random.Random, form: str, kind: str) -> str:
    """A random noun phrase of a kind. Beyond noun_phrase's forms: "i" i den store by, "er" byen er stor, "bar" byer."""
    noun = rng.choice(NOUN[kind])
    adjective = rng.choice(ADJECTIVE[kind]) if rng.random() < 0.5 else None
    if form == "i":
        return f"{noun.preposition} {noun_phrase(noun, 'den', adjective)}"
    if form == "er":
        return f"{noun.definite} er {rng.choice(ADJECTIVE[kind]).agreeing(noun.gender)}"
    return noun.plural if form == "bar" else noun_phrase(noun, form, adjective)


def text(rng: random.Random, template: str, **words: str) -> str:
    """A template with its slots filled; `words` are the slots that the caller decides."""
    return fill(rng, template, WORDS | {name: [word] for name, word in words.items()}, phrase)


def predicate(rng: random.Random, form: str = "en") -> Predicate:
    """A random verb with what belongs to it; form "den" where the clause is negated: så ikke den store hund."""
    entry = rng.choice(PREDICATE)
    return entry._replace(rest=text(rng, entry.rest.replace("{x:", f"{{{form}:")))


def main_clause(subject: str, verb: str, rest: str, front: str = "", adverb: str = "") -> str:
    """Verb second: hun så ikke hunden; i går så hun ikke hunden."""
    opening = [front, verb, subject] if front else [subject, verb]
    return " ".join(word for word in [*opening, adverb, rest] if word)


def subordinate_clause(subject: str, verb: str, rest: str, adverb: str = "") -> str:
    """Adverb before the verb: (fordi) hun ikke så hunden."""
    return " ".join(word for word in [subject, adverb, verb, rest] if word)


def event(rng: random.Random, who: str, friend: str) -> str:
    """One clause or two about what somebody did, in one of the word orders of the language."""
    did, other, denied = predicate(rng), predicate(rng), predicate(rng, "den")
    later, mood = text(rng, "{later}"), text(rng, "{mood}")
    so_friend_did = subordinate_clause(friend, other.past, other.rest)
    friend_did_not = subordinate_clause(friend, denied.past, denied.rest, "ikke")
    return rng.choice(
        [
            main_clause(who, did.past, did.rest, front=rng.choice([later, "måske", "derfor", "heldigvis"])),
            main_clause(who, did.past, did.rest, front=f"da {so_friend_did},"),
            main_clause(who, did.past, f"{did.rest}, fordi {friend_did_not}"),
            main_clause(who, denied.past, denied.rest, front=later, adverb="ikke"),
            main_clause(who, "var", f"{mood}, selv om {friend_did_not}", front=later),
            main_clause(who, "ville", f"{did.infinitive} {did.rest}, men {friend} sagde nej", adverb="gerne"),
            main_clause(friend, "sagde,", f"at {subordinate_clause(who, denied.past, denied.rest, 'aldrig')}"),
            main_clause(who, "havde", f"{did.participle} {did.rest} før", adverb="aldrig"),
            main_clause(who, "prøvede", f"at {did.infinitive} {did.rest}, mens {so_friend_did}"),
            main_clause(who, denied.past, denied.rest, front="hvorfor", adverb="ikke") + "?",
            main_clause(who, did.present, did.rest, front=text(rng, "hver {weekday}")),
            f"det var {phrase(rng, 'den', 'person')}, der {other.past} {other.rest}",
            main_clause(friend, other.past, other.rest, adverb="også"),
        ]
    )


def narrative(rng: random.Random) -> str:
    (name, pronoun), (friend, _) = rng.sample(NAMES, 2)
    first = predicate(rng)
    time = text(rng, "{time}")
    opening = [
        main_clause(name, first.past, first.rest, front=time),
        main_clause(name, first.past, f"{first.rest} {time}"),
    ]
    events = [event(rng, rng.choice([name, pronoun, pronoun]), friend) for _ in range(rng.randint(2, 4))]
    ending = text(rng, "{dusk}", who=pronoun)
    return paragraph([rng.choice(opening), *events, ending])


def prose(rng: random.Random, table: str, low: int, high: int, **words: str) -> list[str]:
    """Between `low` and `high` clauses of a table, none of the same template twice."""
    return [text(rng, template, **words) for template in rng.sample(WORDS[table], rng.randint(low, high))]


def weather(rng: random.Random) -> str:
    return paragraph(prose(rng, "weather", 4, 6))


def nature(rng: random.Random) -> str:
    return paragraph(prose(rng, "animals", 4, 6))


def news(rng: random.Random) -> str:
    town, mayor = rng.choice([(row[0], row[3]) for row in TOWN])
    mayor_says = [f"det ved borgmester {mayor} i {town} ikke noget om"] if rng.random() < 0.4 else []
    lead, details = prose(rng, "lead", 1, 1, town=town), prose(rng, "detail", 2, 4, town=town)
    return paragraph([*lead, *details, *mayor_says, *prose(rng, "end", 1, 1, town=town)])


# the word that ends a review: the adjectives it uses, and what its writer adds
VERDICTS = {"god": ("good", "happy"), "blandet": ("fair", "unsure"), "dårlig": ("bad", "angry")}


def review(rng: random.Random, verdict: str) -> str:
    """A review of a meal, a hotel or a show, whose last word is the verdict."""
    quality, reaction = VERDICTS[verdict]
    kind = rng.choice(list(ASPECTS))

    def judged(aspect: str, quality: str, order: str = "{noun} var {word}") -> str:
        gender, noun = aspect.split()
        return order.format(noun=noun, word=rng.choice(ADJECTIVE[quality]).agreeing(gender))

    first, second, third, fourth = rng.sample(split(ASPECTS[kind]), 4)
    both = f"{judged(third, quality)}, og {judged(fourth, quality)}"
    contrast = f"{judged(third, 'good')}, men {judged(fourth, 'bad')}"
    opinions = [
        judged(first, quality, rng.choice(["{noun} var {word}", "først og fremmest var {noun} {word}"])),
        judged(second, quality, rng.choice(["jeg synes, at {noun} var {word}", "{noun} var også {word}"])),
        contrast if verdict == "blandet" else both,
    ]
    ending = [*prose(rng, reaction, 1, 2), f"alt i alt var oplevelsen {verdict}"]
    return paragraph([*prose(rng, kind, 1, 1), *opinions, *ending])


class Fact(NamedTuple):
    name: str  # of the town or person
    kind: str  # facts of one kind have answers of one kind
    question: str
    answer: str
    statements: list[str]  # with {answer}


def facts() -> list[Fact]:
    """All that the texts say about the invented towns and persons."""
    found = []
    for rows, kinds in ((TOWN, TOWN_FACTS), (PERSON, PERSON_FACTS)):
        for row in rows:
            for column, question, *statements in kinds:
                named = [statement.replace("{name}", row[0]) for statement in statements]
                found.append(Fact(row[0], statements[0], question.format(name=row[0]), row[column], named))
    return found


FACTS = facts()
ENTITIES = sorted({fact.name for fact in FACTS})


def stated(rng: random.Random, fact: Fact) -> str:
    return rng.choice(fact.statements).format(answer=fact.answer)


def encyclopedia(rng: random.Random, name: str) -> str:
    """An article about a town or a person: its facts in some order and some wording, and what varies."""
    known = [stated(rng, fact) for fact in FACTS if fact.name == name]
    person = next((row for row in PERSON if row[0] == name), None)
    if person is None:
        known = rng.sample(known, rng.randint(3, 5))
        extra = prose(rng, "about_town", 1, 2)
    else:
        past = [predicate(rng) for _ in range(2)]
        extra = [main_clause(person[1], p.past, p.rest, front=text(rng, "i {year}")) for p in past]
    rest = known[1:] + extra
    rng.shuffle(rest)
    return paragraph([known[0], *rest])


def questions(rng: random.Random, name: str) -> str:
    """Questions and answers about a town or a person, a line each."""
    asked = [fact for fact in FACTS if fact.name == name]
    asked = rng.sample(asked, min(len(asked), rng.randint(3, 4)))
    pairs = [f"Spørgsmål: {fact.question}\nSvar: {sentence(stated(rng, fact))}" for fact in asked]
    opening, closing = prose(rng, "asker", 1, 1, about=name), prose(rng, "answerer", 1, 1)
    return "\n".join([paragraph(opening), *pairs, paragraph(closing)])
