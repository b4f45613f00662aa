"""What is said with one model or several: questions, each model's answers, and what the models are told of them.

A conversation is saved as JSON lines, an exchange a line: when, who, the system text, the prompt, every model's answer,
and the sampling settings that gave it.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from analyze.speakers import Piece, Sampling, Speaker, chat_ids, reply, room, speak, text_ids
from snakmodel.config import BadInput
from snakmodel.prompts import Turns
from snakmodel.records import now, read_jsonl, write_jsonl

Line = dict[str, Any]  # of a transcript


@dataclass(frozen=True)
class Exchange:
    """A prompt, and what each model has answered, by its name."""

    prompt: str
    answers: dict[str, str]
    system: str
    sampling: Sampling
    time: str

    def as_line(self) -> Line:
        """As a line of a transcript."""
        said = {"time": self.time, "system": self.system, "prompt": self.prompt, "answers": self.answers}
        return said | {"sampling": asdict(self.sampling)}

    def answer_of(self, name: str) -> str:
        """What this model has answered; one that came later takes over from the first."""
        return self.answers.get(name, next(iter(self.answers.values()), ""))


@dataclass
class Conversation:
    """What has been said so far, and how it goes on."""

    sampling: Sampling
    system: str = ""
    exchanges: list[Exchange] = field(default_factory=list)

    def turns(self, name: str, prompt: str, skipped: int = 0) -> Turns:
        """What one model is told: the system text, the exchanges but the first `skipped`, and the new prompt."""
        turns = [{"role": "system", "content": self.system}] if self.system else []
        for exchange in self.exchanges[skipped:]:
            turns.append({"role": "user", "content": exchange.prompt})
            turns.append({"role": "assistant", "content": exchange.answer_of(name)})
        return [*turns, {"role": "user", "content": prompt}]

    def ask(self, speaker: Speaker, prompt: str) -> tuple[Iterator[Piece], int]:
        """A model's answer, piece by piece, and how many of the oldest exchanges it is not told for want of room.

        A model that continues text is given the prompt alone.
        """
        if not speaker.chats:
            return speak(speaker, text_ids(speaker, prompt), self.sampling), 0
        wanted = min(self.sampling.new_tokens, room(speaker, []) // 4)
        for skipped in range(len(self.exchanges) + 1):
            ids = chat_ids(speaker, self.turns(speaker.name, prompt, skipped))
            if room(speaker, ids) >= wanted:
                break
        return reply(speaker, ids, self.sampling), skipped

    def add(self, prompt: str, answers: dict[str, str]) -> Exchange:
        """Remembers what was said."""
        self.exchanges.append(Exchange(prompt, answers, self.system, replace(self.sampling), now()))
        return self.exchanges[-1]

    def save(self, path: Path) -> None:
        """Writes all that has been said into a new file."""
        if path.exists():
            raise BadInput(f"{path} is there already; name another file")
        write_jsonl(path, (exchange.as_line() for exchange in self.exchanges))

    def load(self, path: Path) -> None:
        """Goes on from a transcript: its exchanges, the last one's system text and sampling."""
        if not path.is_file():
            raise BadInput(f"{path} not found")
        try:
            read = [
                Exchange(row["prompt"], row["answers"], row["system"], Sampling(**row["sampling"]), row["time"])
                for row in read_jsonl(path)
            ]
        except (KeyError, TypeError):
            raise BadInput(f"{path} is no transcript") from None
        if read:
            self.exchanges, self.system, self.sampling = read, read[-1].system, read[-1].sampling


def append_line(path: Path, line: Line) -> None:
    """Adds a line to a transcript."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
