"""Rows of any instruction set as conversations, by a map of the set's columns.

A conversation is a list of turns, as in snakmodel/prompts.py. A set has its turns in several columns (`prompt` and
`answer`, perhaps `input` and `system`) or all in one (`conversation`), which holds

    a list of {role, content}, or of ShareGPT's {from, value}; either may be written as JSON
    a transcript, as in hh-rlhf: "\\n\\nHuman: ...\\n\\nAssistant: ..."
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from snakmodel.config import BadInput, knob
from snakmodel.prompts import Turns
from snakmodel.tables import column

ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")  # before what each of them says in a transcript


class NotAConversation(ValueError):
    """Why one row cannot be learnt from; the reason is what its count is listed under."""


@dataclass
class InstructionSet:
    path: str = knob(help="JSONL or Parquet file, or Hub id")
    prompt: list[str] = knob([], "columns joined by a space into the question; empty ones are left out")
    input: str | None = knob(None, "column of the question's data, by which the question ends; empty: none")
    answer: str | None = knob(None, "column of the answer")
    conversation: str | None = knob(None, "column of all turns, in place of prompt, input and answer")
    system: str | None = knob(None, "column of the system text; empty: none")
    configuration: str | None = knob(None, "of a Hub set")
    split: str = knob("train", "of a Hub set")
    revision: str | None = knob(None, "of a Hub set: a pinned commit; null: the newest, which is recorded")
    limit: int | None = knob(None, "rows to read, the first ones; null: all", low=1)
    repeats: int = knob(1, "copies of each conversation that is trained on", low=1)


def check_columns(columns: InstructionSet, where: str) -> None:
    """Refuses a map that does not say where the turns lie, or says so twice."""
    several = [name for name in ("prompt", "input", "answer") if getattr(columns, name)]
    if columns.conversation is not None and several:
        raise BadInput(f"{where}: conversation is one column of all turns; leave out {' and '.join(several)}")
    if columns.conversation is None and (missing := {"prompt", "answer"} - {*several}):
        raise BadInput(f"{where}: {' and '.join(sorted(missing))} missing; or name the one column of all: conversation")


def conversation_of(row: dict[str, Any], columns: InstructionSet, label: str) -> Turns:
    """The turns of a row: the system's, if any, then question and answer in turn, none of them empty.

    Raises NotAConversation for a row that is none, and BadInput for a column that the set does not have.
    """
    if columns.conversation is not None:
        turns = read_turns(column(row, columns.conversation, label))
    else:
        assert columns.answer is not None  # check_columns
        turns = [question(row, columns, label), {"role": "assistant", "content": text_of(row, columns.answer, label)}]
    if columns.system is not None:
        turns = [{"role": "system", "content": text_of(row, columns.system, label)}, *turns]
    if turns and turns[0] == {"role": "system", "content": ""}:
        turns = turns[1:]
    check_turns(turns)
    return turns


def question(row: dict[str, Any], columns: InstructionSet, label: str) -> dict[str, str]:
    """The user's turn of a row whose turns lie in several columns."""
    parts = [text_of(row, name, label) for name in columns.prompt]
    task = " ".join(part for part in parts if part)
    data = text_of(row, columns.input, label) if columns.input is not None else ""
    if task and data:
        return {"role": "user", "content": f"{task} {data}", "input": data}
    return {"role": "user", "content": task or data}


def text_of(row: dict[str, Any], name: str, label: str) -> str:
    """A column's text, without the spaces around it."""
    value = column(row, name, label)
    if isinstance(value, list | dict):
        raise BadInput(f"{label}: column {name!r} holds a {type(value).__name__}, not text; for turns: conversation")
    return "" if value is None else str(value).strip()


def read_turns(value: Any) -> Turns:
    """The turns that one value holds, in any of the three ways; raises NotAConversation."""
    if isinstance(value, str):
        value = split_transcript(value) if SPEAKER.match(value.lstrip()) else parse_json(value)
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise NotAConversation("neither a list of turns nor a transcript")
    return [read_turn(turn) for turn in value]


def split_transcript(text: str) -> list[dict[str, str]]:
    """hh-rlhf's transcript as {role, content}."""
    _, *parts = SPEAKER.split(text.lstrip())
    return [{"role": role.lower(), "content": said} for role, said in zip(parts[::2], parts[1::2], strict=True)]


def parse_json(text: str) -> Any:
    """What a text is as JSON; None where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def read_turn(turn: dict[str, Any]) -> dict[str, str]:
    """{role, content} or {from, value} as a turn."""
    keys = ("from", "value") if "from" in turn else ("role", "content")
    name, content = (turn.get(key) for key in keys)
    role = ROLES.get(str(name).lower())
    if role is None:
        raise NotAConversation(f"unknown role {str(name)[:20]!r}")
    if content is not None and not isinstance(content, str):
        raise NotAConversation("a turn that is not text")
    return {"role": role, "content": (content or "").strip()}


def check_turns(turns: Turns) -> None:
    """Refuses what has no answer to learn, or nobody who asks for it."""
    spoken = turns[1:] if turns and turns[0]["role"] == "system" else turns
    for number, turn in enumerate(spoken):
        if turn["role"] != ("user", "assistant")[number % 2]:
            raise NotAConversation("user and assistant do not take turns")
    if len(spoken) % 2 or not spoken:
        raise NotAConversation("ends without an answer")
    if not all(turn["content"] for turn in spoken):
        raise NotAConversation("empty question or answer")
