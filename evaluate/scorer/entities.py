"""Named entities between their two forms: a tag for each token, and the JSON object that a model writes.

    ["B-PER", "I-PER", "O", "O", "B-LOC"]      {"person": ["Mette Lund"], "sted": ["Ribe"], "organisation": []}

What counts is ScandEval's (named_entity_recognition.py of 13.3), its looseness included: every token that holds an
entity's word as a part of itself is tagged.
"""

import json

from snakmodel.config import BadInput

KINDS = ("LOC", "ORG", "PER", "MISC")


def read_tags(tags: list[str], where: str) -> list[str]:
    """Tags in capitals; another kind than the four is refused, a kind that goes on without having begun begins."""
    read: list[str] = []
    for tag in map(str.upper, tags):
        place, _, kind = tag.partition("-")
        if tag != "O" and (place not in ("B", "I") or kind not in KINDS):
            raise BadInput(f"{where}: tag {tag!r} is none of O, B- or I- with {', '.join(KINDS)}")
        goes_on = place == "I" and read and read[-1][2:] == kind
        read.append(f"B-{kind}" if place == "I" and not goes_on else tag)
    return read


def to_answer(tokens: list[str], tags: list[str], names: dict[str, str]) -> str:
    """The JSON object of tokens with their tags. names: kind, in small letters -> what the prompts call it."""
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    for token, tag in zip(tokens, tags, strict=True):
        if tag == "O":
            continue
        entities = found[names[tag[2:].lower()]]
        if tag.startswith("B-"):
            entities.append(token)
        else:
            entities[-1] += f" {token}"
    return json.dumps(found, ensure_ascii=False)


def to_tags(tokens: list[str], answer: dict[str, list[str]], names: dict[str, str]) -> list[str]:
    """A tag for each token; names that no prompt uses are passed over."""
    tags, kinds = ["O"] * len(tokens), {name: kind.upper() for kind, name in names.items()}
    for name, entities in answer.items():
        if name not in kinds:
            continue
        kind = kinds[name]
        for entity in entities:
            for number, word in enumerate(entity.split()):
                for place, token in enumerate(tokens):
                    if word not in token:
                        continue
                    if number == 0:
                        tags[place] = f"B-{kind}"
                    elif tags[place] == "O" and place > 0 and tags[place - 1][2:] == kind:
                        tags[place] = f"I-{kind}"
    return tags


def without_misc(tags: list[str]) -> list[str]:
    """The tags with those of MISC taken away."""
    return ["O" if tag.endswith("MISC") else tag for tag in tags]
