"""Write the miniature's raw data: corpora with planted faults, tasks, instructions, and the truth about all of it.

python runs/tiny_data/write.py --config configs/tiny-base.yaml

Everything comes from small grammars and a seed; the same seed gives the same bytes. `truth.json` says of each source
which unit is what. Copies lie outside dawiki, where a page's markup would stand between a text and its copy.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from runs.tiny_data import danish, english, noise, tasks
from runs.tiny_data.formats import Page, convokit, gzip_text, jsonl, markup, wikipedia
from snakmodel.config import read_command, run_script
from snakmodel.records import begin, write_beside, write_json, write_jsonl
from snakmodel.settings import knob

GENRES = {
    "eubookshop": (danish.narrative, danish.nature),
    "dawiki": (danish.encyclopedia,),
    "danewsroom": (danish.news, danish.weather),
    "reddit": (danish.opinion, danish.questions),
}
WITHOUT_MARKUP = ("eubookshop", "danewsroom", "reddit")
# what is planted, as shares of the clean documents
FOREIGN = {"no": 0.04, "sv": 0.03, "en": 0.03}
JUNK = 0.02
EXACT_COPIES = 0.04
TWICE = 0.25  # share of the copied documents that are copied twice
NEAR_COPIES = 0.04
SHORTEST_COPIED = 40  # words
DROPPED = {  # source, reason of its reader, share and texts
    ("dawiki", "redirect"): (0.02, danish.ENTITIES),
    ("dawiki", "not an article"): (0.01, danish.ENTITIES),
    ("reddit", "deleted"): (0.02, ["[deleted]", "[removed]", "removed"]),
    ("reddit", "too short"): (0.005, ["ok", "ja", ":)"]),
}
ITEMS = 300  # questions of a task
INSTRUCTIONS = 800


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
    id: str = ""  # SOURCE:INDEX


def main() -> None:
    command = read_command(Settings, "tiny_data", __doc__)
    settings, folder = command.settings, command.run.folder("tiny_data")
    work = begin(command, folder, {})
    if work is None:
        return
    sources = danish_units(random.Random(f"{settings.seed} danish"), settings.documents)
    write_danish(folder / "danish", sources, random.Random(f"{settings.seed} markup"))
    truth = describe(sources)
    write_json(folder / "truth.json", truth)
    rng = random.Random(f"{settings.seed} english")
    write_english(folder / "english", draw(rng, english.GENRES, settings.documents))
    write_tasks(folder, sources, random.Random(f"{settings.seed} tasks"))
    counts = {name: dict(Counter(unit.kind for unit in units).most_common()) for name, units in sources.items()}
    for name, kinds in counts.items():
        print(f"{name}: {sum(kinds.values()):,} units: " + ", ".join(f"{n:,} {kind}" for kind, n in kinds.items()))
    work.finish(counts=counts)


def draw(rng: random.Random, genres: dict[Callable, float], total: int) -> list[tuple[Callable, str]]:
    """`total` texts with their genre, each genre with its share."""
    bounds = [0, *(round(total * share) for share in accumulate(genres.values()))]
    counts = [after - before for before, after in pairwise(bounds)]
    return [(genre, genre(rng)) for genre, count in zip(genres, counts, strict=True) for _ in range(count)]


def danish_units(rng: random.Random, documents: int) -> dict[str, list[Unit]]:
    """The units of each source, in the order of its file."""
    texts = draw(rng, danish.GENRES, documents)
    sources = {name: [Unit(text) for genre, text in texts if genre in genres] for name, genres in GENRES.items()}
    sizes = {name: len(units) for name, units in sources.items()}

    def plant(units: list[Unit], names: tuple[str, ...]) -> None:
        homes = rng.choices(names, [sizes[name] for name in names], k=len(units))
        for unit, home in zip(units, homes, strict=True):
            sources[home].append(unit)

    plant(copies(rng, [unit for name in WITHOUT_MARKUP for unit in sources[name]], documents), WITHOUT_MARKUP)
    plant([Unit(noise.junk(rng), "junk") for _ in range(round(JUNK * documents))], WITHOUT_MARKUP)
    for language, share in FOREIGN.items():
        count = round(share * documents)
        plant([Unit(noise.foreign(rng, language), language) for _ in range(count)], tuple(sources))
    for (name, reason), (share, kept) in DROPPED.items():
        count = round(share * documents)
        sources[name] += [Unit(rng.choice(kept), "dropped", reason) for _ in range(count)]
    for name, units in sources.items():
        rng.shuffle(units)
        for index, unit in enumerate(units):
            unit.id = f"{name}:{index:08d}"
    return sources


def copies(rng: random.Random, clean: list[Unit], documents: int) -> list[Unit]:
    """Exact copies, of which some share their original, and near ones of other documents."""
    exact, near = round(EXACT_COPIES * documents), round(NEAR_COPIES * documents)
    once = round(exact / (1 + TWICE))
    originals = rng.sample([unit for unit in clean if len(unit.text.split()) >= SHORTEST_COPIED], once + near)
    twice = originals[: exact - once]
    return [Unit(unit.text, "exact", original=unit) for unit in originals[:once] + twice] + [
        Unit(noise.near_duplicate(rng, unit.text), "near", original=unit) for unit in originals[once:]
    ]


def describe(sources: dict[str, list[Unit]]) -> dict[str, Any]:
    """The truth about the Danish sources."""
    groups: dict[str, dict[str, list[str]]] = {"exact": {}, "near": {}}
    for units in sources.values():
        for unit in units:
            if unit.original is not None:
                groups[unit.kind].setdefault(unit.original.id, [unit.original.id]).append(unit.id)

    def ids(units: list[Unit], kind: str) -> list[str]:
        return [unit.id for unit in units if unit.kind == kind]

    return {
        "danish": {
            name: {
                "units": len(units),
                "dropped_by_reader": dict(Counter(unit.reason for unit in units if unit.kind == "dropped")),
                "clean": ids(units, "clean"),
                "foreign": {language: ids(units, language) for language in FOREIGN},
                "junk": ids(units, "junk"),
            }
            for name, units in sources.items()
        },
        "exact_duplicates": list(groups["exact"].values()),
        "near_duplicates": list(groups["near"].values()),
    }


def write_danish(folder: Path, sources: dict[str, list[Unit]], rng: random.Random) -> None:
    """Each source in the format that its namesake comes in."""
    texts = {name: [unit.text for unit in units] for name, units in sources.items()}
    pages = [page(rng, number, unit) for number, unit in enumerate(sources["dawiki"], start=1)]
    write_bytes(folder / "eubookshop.txt.gz", gzip_text(texts["eubookshop"]))
    write_bytes(folder / "dawiki.xml.bz2", wikipedia(pages))
    write_bytes(folder / "danewsroom.jsonl", jsonl({"text": text} for text in texts["danewsroom"]))
    write_bytes(folder / "reddit.corpus.zip", convokit("reddit-da", texts["reddit"]))


def page(rng: random.Random, number: int, unit: Unit) -> Page:
    """A unit as a page of a wiki."""
    if unit.reason == "redirect":
        return Page(f"Omdirigering {number}", 0, f"#OMDIRIGERING [[{unit.text}]]", unit.text)
    if unit.reason == "not an article":
        return Page(f"Diskussion:{unit.text} ({number})", 1, f"Hvem ved mere om {unit.text}? ~~~~")
    name = next((name for name in reversed(danish.ENTITIES) if name in unit.text), None)  # persons before towns
    if unit.kind != "clean" or name is None:
        return Page(f"Side {number}", 0, unit.text)
    links = [fact.answer for fact in danish.FACTS if fact.name == name and " " not in fact.answer]
    return Page(f"{name} ({number})", 0, markup(rng, unit.text, name, links))


def write_english(folder: Path, texts: list[tuple[Callable, str]]) -> None:
    """News in one source, everything else in another."""
    news = [text for genre, text in texts if genre is english.news]
    books = [text for genre, text in texts if genre is not english.news]
    write_bytes(folder / "books.txt.gz", gzip_text(books))
    write_bytes(folder / "news.jsonl", jsonl({"text": text} for text in news))


def write_tasks(folder: Path, sources: dict[str, list[Unit]], rng: random.Random) -> None:
    """Tasks and instructions of which no sentence or review is in the corpus."""
    texts = [unit.text for units in sources.values() for unit in units]
    seen = {part for text in texts for part in (text.removesuffix("."), *noise.sentences(text))}
    write_jsonl(folder / "tasks" / "acceptability.jsonl", tasks.acceptability(rng, ITEMS, seen))
    write_jsonl(folder / "tasks" / "sentiment.jsonl", tasks.sentiment(rng, ITEMS, seen))
    write_jsonl(folder / "tasks" / "knowledge.jsonl", tasks.knowledge(rng, ITEMS))
    write_jsonl(folder / "instructions.jsonl", tasks.instructions(rng, INSTRUCTIONS, seen))


def write_bytes(path: Path, data: bytes) -> None:
    with write_beside(path) as temporary:
        temporary.write_bytes(data)


if __name__ == "__main__":
    run_script(main)
