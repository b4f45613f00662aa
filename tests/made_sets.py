"""Small data sets of the eight Danish ones' kinds, in the columns and under the Hub ids that ScandEval 13 knows.

python tests/made_sets.py FOLDER [ORG]        # ORG: ScandEval, or EuroEval for its own ids
"""

import json
import sys
from pathlib import Path

NAMES = ("Karen", "Peter", "Lise", "Jens", "Mette", "Ole")
TOWNS = ("Vejle", "Ribe", "Skive", "Odense")
THINGS = ("et hus", "en båd", "en hest", "et brød", "en bog")
MOODS = {"positive": "Det var en dejlig dag", "neutral": "Det var en dag", "negative": "Det var en rædsom dag"}
SIZES = {"train": 36, "val": 12, "test": 12}


def sentence(number):
    """One of 120 sentences, as words."""
    name, town, thing = (words[number % len(words)] for words in (NAMES, TOWNS, THINGS))
    return [name, "købte", *thing.split(), "i", town, "."]


def acceptability(number):
    words = sentence(number)
    wrong = number % 2
    words[1:3] = words[2:0:-1] if wrong else words[1:3]
    return {"text": " ".join(words), "label": "incorrect" if wrong else "correct"}


def sentiment(number):
    label = list(MOODS)[number % 3]
    return {"text": f"{MOODS[label]} i {TOWNS[number % 4]}.", "label": label}


def entities(number):
    words = sentence(number)
    return {"text": " ".join(words), "tokens": words, "labels": ["B-PER", *["O"] * (len(words) - 3), "B-LOC", "O"]}


def choice(number):
    right, options = number % 4, [f"Hun købte {thing}." for thing in THINGS[:4]]
    lines = "\n".join(f"{letter}. {option}" for letter, option in zip("abcd", options, strict=True))
    # each text is another one: few-shot examples are drawn until enough differ, or for ever
    return {
        "text": f"Nummer {number}: hvad købte {NAMES[number % 6]} i {TOWNS[right]}?\nSvarmuligheder:\n{lines}",
        "label": "abcd"[right],
    }


def question(number):
    words = sentence(number)
    text, town = " ".join(words), words[-2]
    answers = {"text": [town], "answer_start": [text.index(town)]}
    return {"id": str(number), "context": text, "question": f"Hvor købte {words[0]} noget?", "answers": answers}


def summary(number):
    words = sentence(number)
    return {"text": f"{' '.join(words)} Alle var glade for det, og det blev sent.", "target_text": " ".join(words)}


SETS = {
    "scala-da": acceptability,
    "angry-tweets-mini": sentiment,
    "dansk-mini": entities,
    "danske-talemaader-mini": choice,
    "danish-citizen-tests": choice,
    "hellaswag-da-mini": choice,
    "scandiqa-da-mini": question,
    "nordjylland-news-mini": summary,
}
SETS_16 = {"danske-talemaader": choice, "danish-citizen-tests-updated": choice}


def write(folder, organisation="ScandEval"):
    """The sets as FOLDER/ORG/NAME/{train,val,test}.jsonl."""
    for name, make in (SETS | (SETS_16 if organisation == "EuroEval" else {})).items():
        (folder / organisation / name).mkdir(parents=True)
        start = 0
        for split, size in SIZES.items():
            rows = [json.dumps(make(number), ensure_ascii=False) for number in range(start, start + size)]
            (folder / organisation / name / f"{split}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
            start += size


if __name__ == "__main__":
    write(Path(sys.argv[1]), *sys.argv[2:])
