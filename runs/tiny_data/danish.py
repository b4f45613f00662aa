"""Danish texts of seven genres, by a small grammar: noun phrases that agree, clauses that know where the verb goes.

Word order follows the field schema of Danish: the verb is second in a main clause, so that a fronted adverbial
swaps verb and subject, and in a subordinate clause `ikke` and its like stand before the verb.
(P. Diderichsen, Elementær dansk grammatik, 1946.)
"""

import random
from typing import NamedTuple

from runs.tiny_data.grammar import NUMBERS, Grammar, paragraph, read_words, sentence, split, split_all

WORDS = read_words("danish")


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
        """The form for en, et or de (plural)."""
        return {"en": self.common, "et": self.neuter, "de": self.plural}[gender]


class Predicate(NamedTuple):
    infinitive: str
    present: str
    past: str
    participle: str
    rest: str


def read_noun(entry: str) -> Noun:
    *preposition, gender, bare, definite, plural = entry.split()
    return Noun(gender, bare, definite, plural, *preposition)


def read_adjective(entry: str) -> Adjective:
    common, neuter, plural, *definite = entry.split()
    return Adjective(common, neuter, plural, *(definite or [plural]))


def read_predicate(entry: str) -> Predicate:
    forms, rest = entry.split(" | ")
    infinitive, present, past, participle = forms.split()
    return Predicate(infinitive, present, past, participle, rest)


NOUN = {kind: [read_noun(entry) for entry in table] for kind, table in split_all(WORDS["nouns"]).items()}
ADJECTIVE = {kind: [read_adjective(entry) for entry in table] for kind, table in split_all(WORDS["adjectives"]).items()}
PREDICATE = [read_predicate(entry) for entry in split(WORDS["predicates"])]
ASPECT = split_all(WORDS["aspects"])
TOWN = [row.split(" | ") for row in split(WORDS["towns"])]
PERSON = [row.split(" | ") for row in split(WORDS["persons"])]
NAMES = [(name, "hun") for name in split(WORDS["women"])] + [(name, "han") for name in split(WORDS["men"])]


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
    """A random noun phrase. Beyond noun_phrase's forms: "i" i den store by, "er" byen er stor, "bar" byer."""
    noun = rng.choice(NOUN[kind])
    adjective = rng.choice(ADJECTIVE[kind]) if rng.random() < 0.5 else None
    if form == "i":
        return f"{noun.preposition} {noun_phrase(noun, 'den', adjective)}"
    if form == "er":
        return f"{noun.definite} er {rng.choice(ADJECTIVE[kind]).agreeing(noun.gender)}"
    return noun.plural if form == "bar" else noun_phrase(noun, form, adjective)


NAMED = {"town": [row[0] for row in TOWN], "name": [name for name, _ in NAMES]}
GRAMMAR = Grammar({**split_all(WORDS["tables"]), **NUMBERS, **NAMED}, phrase)


def predicate(rng: random.Random, form: str = "en") -> Predicate:
    """A random verb with what belongs to it; form "den" where the clause is negated: så ikke den store hund."""
    entry = rng.choice(PREDICATE)
    return entry._replace(rest=GRAMMAR.text(rng, entry.rest.replace("{x:", f"{{{form}:")))


def main_clause(subject: str, verb: str, rest: str, front: str = "", adverb: str = "") -> str:
    """Verb second: hun så ikke hunden; i går så hun ikke hunden."""
    opening = [front, verb, subject] if front else [subject, verb]
    return " ".join(word for word in [*opening, adverb, rest] if word)


def subordinate_clause(subject: str, verb: str, rest: str, adverb: str = "") -> str:
    """Adverb before the verb: (fordi) hun ikke så hunden."""
    return " ".join(word for word in [subject, adverb, verb, rest] if word)


def events(rng: random.Random, who: str, friend: str) -> list[str]:
    """Things that somebody did or did not, one in each of the word orders of the language."""
    did, other, denied = predicate(rng), predicate(rng), predicate(rng, "den")
    later, mood, weekday = (GRAMMAR.text(rng, word) for word in ("{later}", "{mood}", "hver {weekday}"))
    friend_did = subordinate_clause(friend, other.past, other.rest)
    friend_did_not = subordinate_clause(friend, denied.past, denied.rest, "ikke")
    never = subordinate_clause(who, denied.past, denied.rest, "aldrig")
    return [
        main_clause(who, did.past, did.rest, front=rng.choice([later, "måske", "derfor", "heldigvis"])),
        main_clause(who, did.past, did.rest, front=f"da {friend_did},"),
        main_clause(who, did.past, f"{did.rest}, fordi {friend_did_not}"),
        main_clause(who, denied.past, denied.rest, front=later, adverb="ikke"),
        main_clause(who, "var", f"{mood}, selv om {friend_did_not}", front=later),
        main_clause(who, "ville", f"{did.infinitive} {did.rest}, men {friend} sagde nej", adverb="gerne"),
        main_clause(friend, "sagde,", f"at {never}"),
        main_clause(who, "havde", f"{did.participle} {did.rest} før", adverb="aldrig"),
        main_clause(who, "prøvede", f"at {did.infinitive} {did.rest}, mens {friend_did}"),
        main_clause(who, denied.past, denied.rest, front="hvorfor", adverb="ikke") + "?",
        main_clause(who, did.present, did.rest, front=weekday),
        main_clause("det", "var", f"{phrase(rng, 'den', 'person')}, der {other.past} {other.rest}"),
        main_clause(friend, other.past, other.rest, adverb="også"),
    ]


def narrative(rng: random.Random) -> str:
    (name, pronoun), (friend, _) = rng.sample(NAMES, 2)
    first, time = predicate(rng), GRAMMAR.text(rng, "{time}")
    openings = [
        main_clause(name, first.past, first.rest, front=time),
        main_clause(name, first.past, f"{first.rest} {time}"),
    ]
    possible = [events(rng, rng.choice([name, pronoun, pronoun]), friend) for _ in range(rng.randint(2, 4))]
    orders = rng.sample(range(len(possible[0])), len(possible))
    told = [clauses[order] for clauses, order in zip(possible, orders, strict=True)]
    return paragraph([rng.choice(openings), *told, GRAMMAR.text(rng, "{dusk}", who=pronoun)])


def weather(rng: random.Random) -> str:
    return paragraph(GRAMMAR.prose(rng, "weather", 4, 6))


def nature(rng: random.Random) -> str:
    return paragraph(GRAMMAR.prose(rng, "animals", 4, 6))


def news(rng: random.Random) -> str:
    town, mayor = rng.choice([(row[0], row[3]) for row in TOWN])
    asked = [f"det ved borgmester {mayor} i {town} ikke noget om"] if rng.random() < 0.4 else []
    lead, details = (GRAMMAR.prose(rng, *part, town=town) for part in (("lead", 1, 1), ("detail", 2, 4)))
    return paragraph([*lead, *details, *asked, *GRAMMAR.prose(rng, "end", 1, 1, town=town)])


# the word that ends a review: the adjectives it uses, and what its writer adds
VERDICTS = {"god": ("good", "happy"), "blandet": ("fair", "unsure"), "dårlig": ("bad", "angry")}


def review(rng: random.Random, verdict: str) -> str:
    """A review of a meal, a hotel or a show, whose last word is the verdict."""
    quality, reaction = VERDICTS[verdict]
    kind = rng.choice(list(ASPECT))

    def judged(aspect: str, quality: str, order: str = "{noun} var {word}") -> str:
        gender, noun = aspect.split()
        return order.format(noun=noun, word=rng.choice(ADJECTIVE[quality]).agreeing(gender))

    first, second, third, fourth = rng.sample(ASPECT[kind], 4)
    both = f"{judged(third, quality)}, og {judged(fourth, quality)}"
    contrast = f"{judged(third, 'good')}, men {judged(fourth, 'bad')}"
    opinions = [
        judged(first, quality, rng.choice(["{noun} var {word}", "først og fremmest var {noun} {word}"])),
        judged(second, quality, rng.choice(["jeg synes, at {noun} var {word}", "{noun} var også {word}"])),
        contrast if verdict == "blandet" else both,
    ]
    ending = [*GRAMMAR.prose(rng, reaction, 2, 2), f"alt i alt var oplevelsen {verdict}"]
    return paragraph([*GRAMMAR.prose(rng, kind, 1, 1), *opinions, *ending])


class Fact(NamedTuple):
    name: str  # of the town or person
    kind: str  # facts of one kind have answers of one kind
    question: str
    answer: str
    statements: list[str]  # with {answer}

    def stated(self, rng: random.Random) -> str:
        return rng.choice(self.statements).format(answer=self.answer)


def read_facts(about: str, rows: list[list[str]], kinds: list[list]) -> list[Fact]:
    """What the texts say about each town or person, by its row."""
    return [
        Fact(
            name=row[0],
            kind=f"{about}: {question}",
            question=question.format(name=row[0]),
            answer=row[column],
            statements=[statement.replace("{name}", row[0]) for statement in statements],
        )
        for row in rows
        for column, question, *statements in kinds
    ]


FACTS = read_facts("town", TOWN, WORDS["town_facts"]) + read_facts("person", PERSON, WORDS["person_facts"])
ENTITIES = [row[0] for row in TOWN + PERSON]
ASKED_ABOUT = ENTITIES[::2]  # the others' facts are told in articles only


def encyclopedia(rng: random.Random) -> str:
    """An article about a town or a person: its facts in some order and some wording, and what varies."""
    name = rng.choice(ENTITIES)
    first, *rest = (fact.stated(rng) for fact in FACTS if fact.name == name)
    pronoun = next((row[1] for row in PERSON if row[0] == name), None)
    if pronoun is None:
        rest = rng.sample(rest, 3) + GRAMMAR.prose(rng, "about_town", 2, 2)
    else:
        for did in (predicate(rng), predicate(rng)):
            rest.append(main_clause(pronoun, did.past, did.rest, front=GRAMMAR.text(rng, "i {lifetime}")))
    rng.shuffle(rest)
    return paragraph([first, *rest])


def questions(rng: random.Random) -> str:
    """Questions and answers about a town or a person, a line each."""
    name = rng.choice(ASKED_ABOUT)
    facts = [fact for fact in FACTS if fact.name == name]
    facts = rng.sample(facts, min(len(facts), rng.randint(3, 4)))
    pairs = [f"Spørgsmål: {fact.question}\nSvar: {sentence(fact.stated(rng))}" for fact in facts]
    opening, closing = GRAMMAR.prose(rng, "asker", 1, 1, about=name), GRAMMAR.prose(rng, "answerer", 1, 1)
    return "\n".join([paragraph(opening), *pairs, paragraph(closing)])


def opinion(rng: random.Random) -> str:
    return review(rng, rng.choice(list(VERDICTS)))


# share of the documents
GENRES = {narrative: 0.22, nature: 0.12, encyclopedia: 0.22, news: 0.14, weather: 0.06, opinion: 0.16, questions: 0.08}
