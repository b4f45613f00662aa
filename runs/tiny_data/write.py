"""Write the miniature's raw data: corpora with planted faults, tasks, instructions, and the truth about all of it.

python runs/tiny_data/write.py --config configs/tiny-base.yaml

Everything comes from small grammars and a seed; the same seed gives the same bytes. `truth.json` says of each source
which unit is what. Copies lie outside dawiki, where a page's markup would stand between a text and its copy.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from runs.tiny_data import sets, tasks
from runs.tiny_data.formats import Page, convokit, gzip_text, jsonl, wikipedia
from runs.tiny_data.texts import DANISH, DATA, ENGLISH, ENTITIES, FACTS, Grammar, draw, english_story
from snakmodel.config import read_command, run_script
from snakmodel.records import begin, write_beside, write_json
from snakmodel.settings import knob

PLANTED, WIKI = DATA["planted"], DATA["wiki"]
FOREIGN = ("no", "sv", "en")
WITHOUT_MARKUP = ("eubookshop", "danewsroom", "reddit")


@dataclass
class Settings:
    documents: int = knob(12_000, "clean Danish documents; as many English ones", low=200)
    seed: int = knob(8446, "of everything that is drawn")


@dataclass(eq=False)
class Unit:
    """One raw unit of a source."""

    text: str
    kind: str = "clean"  # or no, sv, en, junk, exact and near (copies), dropped
    reason: str = ""  # why the reader drops it
    original: "Unit | None" = None  # what a copy is a copy of


def main() -> None:
    command = read_command(Settings, "tiny_data", __doc__)
    settings, folder = command.settings, command.run.folder("tiny_data")
    work = begin(command, folder, {})
    if work is None:
        return
    parts = ("danish", "markup", "english", "tasks", "sets", "retold")
    rng = {part: random.Random(f"{settings.seed} {part}") for part in parts}
    sources = danish_units(rng["danish"], settings.documents)
    texts = {name: [unit.text for unit in units] for name, units in sources.items()}
    english = draw(rng["english"], ENGLISH, settings.documents)
    pages = [page(rng["markup"], number, unit) for number, unit in enumerate(sources["dawiki"], start=1)]
    files = {
        "danish/eubookshop.txt.gz": gzip_text(texts["eubookshop"]),
        "danish/dawiki.xml.bz2": wikipedia(pages),
        "danish/danewsroom.jsonl": jsonl({"text": text} for text in texts["danewsroom"]),
        "danish/reddit.corpus.zip": convokit("reddit-da", texts["reddit"]),
        "english/books.txt.gz": gzip_text(english["books"]),
        "english/news.jsonl": jsonl({"text": text} for text in english["news"]),
        **task_files(rng["tasks"], {text for source in texts.values() for text in source}),
        **set_files(rng["sets"]),
        "tasks/retold.jsonl": jsonl(tasks.rows(tasks.retold, rng["retold"])),
    }
    for name, data in files.items():
        with write_beside(folder / name) as temporary:
            temporary.write_bytes(data)
    write_json(folder / "truth.json", describe(sources))
    counts = {name: dict(Counter(unit.kind for unit in units).most_common()) for name, units in sources.items()}
    for name, kinds in counts.items():
        print(f"{name}: {sum(kinds.values()):,} units: " + ", ".join(f"{n:,} {kind}" for kind, n in kinds.items()))
    work.finish(counts=counts)


def danish_units(rng: random.Random, documents: int) -> dict[str, list[Unit]]:
    """The units of each source, in the order of its file: clean documents, and what is planted among them."""
    clean = {name: [Unit(text) for text in texts] for name, texts in draw(rng, DANISH, documents).items()}
    sources = {name: units.copy() for name, units in clean.items()}
    counts = {kind: round(share * documents) for kind, share in PLANTED["shares"].items()}

    def plant(units: list[Unit], names: tuple[str, ...]) -> None:
        homes = rng.choices(names, [len(clean[name]) for name in names], k=len(units))
        for unit, home in zip(units, homes, strict=True):
            sources[home].append(unit)

    plant(copies(rng, [unit for name in WITHOUT_MARKUP for unit in clean[name]], counts), WITHOUT_MARKUP)
    plant([Unit(junk(rng), "junk") for _ in range(counts["junk"])], WITHOUT_MARKUP)
    for language in FOREIGN:
        plant([Unit(foreign(rng, language), language) for _ in range(counts[language])], tuple(sources))
    for name, reason, share, *texts in PLANTED["dropped"]:
        for _ in range(round(share * documents)):
            sources[name].append(Unit(rng.choice(texts or ENTITIES), "dropped", reason))
    for units in sources.values():
        rng.shuffle(units)
    return sources


def copies(rng: random.Random, clean: list[Unit], counts: dict[str, int]) -> list[Unit]:
    """Exact copies, of which some share their original, and near ones of other documents."""
    once = round(counts["exact"] / (1 + PLANTED["twice"]))
    long = [unit for unit in clean if len(unit.text.split()) >= PLANTED["shortest_copied"]]
    originals = rng.sample(long, once + counts["near"])
    exact = [Unit(unit.text, "exact", original=unit) for unit in originals[:once] + originals[: counts["exact"] - once]]
    return exact + [Unit(near_duplicate(rng, unit.text), "near", original=unit) for unit in originals[once:]]


def near_duplicate(rng: random.Random, text: str) -> str:
    """A text whose last words are cut, or words near its ends (which are part of few 5-grams) replaced."""
    changed = text
    while not PLANTED["near"] <= jaccard(text, changed) < 1:
        words = text.split(" ")
        if rng.random() < 0.5:
            words = words[: -rng.randint(1, 4)]
        else:
            for place in rng.sample([0, 1, -2, -1], rng.randint(1, 2)):
                words[place] = rng.choice(PLANTED["substitutes"])
        changed = " ".join(words)
    return changed


def jaccard(one: str, other: str) -> float:
    """5-grams that two texts share / all their 5-grams, of words in lower case and without punctuation."""
    words = (re.findall(r"\w+", text.lower()) for text in (one, other))
    left, right = ({tuple(line[start : start + 5]) for start in range(len(line) - 4)} for line in words)
    return len(left & right) / len(left | right)


def junk(rng: random.Random) -> str:
    """Debris of markup, digits, or a hand on the keyboard; one line, not empty."""
    count, kind = rng.randint(8, 25), rng.choice(["markup", "digits", "keys"])
    if kind == "markup":
        return " ".join(rng.choices(PLANTED["markup"], k=count))
    if kind == "digits":
        return " ".join(str(rng.randrange(10 ** rng.randint(1, 9))) for _ in range(count))
    return " ".join("".join(rng.choices(rng.choice(PLANTED["keys"]), k=rng.randint(3, 12))) for _ in range(count))


def foreign(rng: random.Random, language: str) -> str:
    """Some sentences of Norwegian Bokmål (no), Swedish (sv) or English (en)."""
    if language == "en":
        return english_story(rng)
    return Grammar({"tables": PLANTED["neighbours"][language]}).passage(rng, "sentence")


def describe(sources: dict[str, list[Unit]]) -> dict[str, Any]:
    """The truth about the Danish sources: which unit is what, and which are copies of each other."""
    ids = {unit: f"{name}:{index:08d}" for name, units in sources.items() for index, unit in enumerate(units)}
    told = {}
    for name, units in sources.items():
        kinds = {kind: [ids[unit] for unit in units if unit.kind == kind] for kind in ("clean", "junk", *FOREIGN)}
        told[name] = {
            "units": len(units),
            "dropped_by_reader": Counter(unit.reason for unit in units if unit.reason),
            "clean": kinds["clean"],
            "foreign": {language: kinds[language] for language in FOREIGN},
            "junk": kinds["junk"],
        }
    groups: dict[str, dict[Unit, list[str]]] = {"exact": {}, "near": {}}
    for unit, id in ids.items():
        if unit.original is not None:
            groups[unit.kind].setdefault(unit.original, [ids[unit.original]]).append(id)
    return {"danish": told} | {f"{kind}_duplicates": list(found.values()) for kind, found in groups.items()}


def page(rng: random.Random, number: int, unit: Unit) -> Page:
    """A unit as a page of a wiki: an article if it is a clean document about something, or what its reader drops."""
    name = next((name for name in reversed(ENTITIES) if name in unit.text), "")  # persons before towns
    is_article = unit.kind == "clean" and name
    title, namespace, wikitext, redirect = WIKI["pages"]["article" if is_article else unit.reason]
    given = {"number": number, "name": name, "text": markup(rng, unit.text, name) if is_article else unit.text}
    return Page(title.format(**given), namespace, wikitext.format(**given), redirect.format(**given))


def markup(rng: random.Random, text: str, name: str) -> str:
    """A text as wikitext: infobox, its subject in bold, links, a reference, a heading and a category."""
    for fact in FACTS:
        if fact.name == name and " " not in fact.answer:
            link = rng.choice([f"[[{fact.answer}]]", f"[[{fact.answer} (opslag)|{fact.answer}]]"])
            text = text.replace(fact.answer, link, 1)
    first, *rest = re.split(r"(?<=\.) ", text.replace(name, f"'''{name}'''", 1))
    given = {"middle": " ".join(rest[: len(rest) // 2]), "last": " ".join(rest[len(rest) // 2 :])}
    return WIKI["article"].format(name=name, first=first, year=rng.randint(1950, 2020), **given)


def task_files(rng: random.Random, corpus: set[str]) -> dict[str, bytes]:
    """Tasks and instructions of which no sentence or review is in the corpus."""
    seen = {part for text in corpus for part in (text.removesuffix("."), *re.split(r"(?<=[.?!])\s+", text))}
    return {
        "tasks/acceptability.jsonl": jsonl(tasks.rows(tasks.acceptability, rng, 300, seen)),
        "tasks/sentiment.jsonl": jsonl(tasks.rows(tasks.sentiment, rng, 300, seen)),
        "tasks/knowledge.jsonl": jsonl(tasks.rows(tasks.knowledge, rng, 300)),
        "instructions.jsonl": jsonl(tasks.instructions(rng, 800, seen)),
        "conversations.jsonl": jsonl(tasks.conversations(rng, 100)),
        "preferences.jsonl": jsonl(tasks.preferences(rng, 250)),
    }


def set_files(rng: random.Random) -> dict[str, bytes]:
    """Evaluation sets, a folder each with a file for each split."""
    made = {name: sets.rows(make, rng) for name, make in sets.SETS.items()}
    return {f"sets/{name}/{split}.jsonl": jsonl(rows) for name in made for split, rows in made[name].items()}


if __name__ == "__main__":
    run_script(main)
