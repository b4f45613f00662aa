"""What is said with one model or several: questions, each model's answers, and what the models are told of them.

A conversation is saved as JSON lines, an exchange a line: when, the system text, the prompt, the answer of every model
that was asked, and the sampling settings that gave it. A transcript, which only grows, also has marks: `retry` in an
exchange that stands for the one before it, and lines `undo` (the last exchange is forgotten) and `reset` (all are).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from analyze.speakers import Piece, Sampling, Speaker, chat_ids, reply, room, speak, text_ids
from snakmodel.config import BadInput, to_dataclass
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
    transcript: Path | None = None  # file to which all that happens is added as it happens
    exchanges: list[Exchange] = field(default_factory=list)

    def turns(self, name: str, prompt: str, exchanges: list[Exchange]) -> Turns:
        """What one model is told: the system text, these exchanges, and the new prompt."""
        turns = [{"role": "system", "content": self.system}] if self.system else []
        for exchange in exchanges:
            turns.append({"role": "user", "content": exchange.prompt})
            turns.append({"role": "assistant", "content": exchange.answer_of(name)})
        return [*turns, {"role": "user", "content": prompt}]

    def ask(self, speaker: Speaker, prompt: str, retry: bool = False) -> tuple[Iterator[Piece], int]:
        """A model's answer, piece by piece, and how many of the oldest exchanges it is not told for want of room.

        A model that continues text is given the prompt alone. retry: for the last time, which it is not told of.
        """
        if not speaker.chats:
            return speak(speaker, text_ids(speaker, prompt), self.sampling), 0
        exchanges = self.exchanges[:-1] if retry else self.exchanges
        wanted = min(self.sampling.new_tokens, room(speaker, []) // 4)
        for skipped in range(len(exchanges) + 1):
            ids = chat_ids(speaker, self.turns(speaker.name, prompt, exchanges[skipped:]))
            if room(speaker, ids) >= wanted:
                break
        return reply(speaker, ids, self.sampling), skipped

    def add(self, prompt: str, answers: dict[str, str], retry: bool = False) -> None:
        """Remembers what was said. retry: instead of the last exchange."""
        exchange = Exchange(prompt, answers, self.system, replace(self.sampling), now())
        self.exchanges[len(self.exchanges) - retry :] = [exchange]
        self.write(exchange.as_line() | ({"retry": True} if retry else {}))

    def undo(self) -> Exchange:
        """Forgets the last exchange."""
        exchange = self.exchanges.pop()
        self.write({"time": now(), "undo": True})
        return exchange

    def reset(self) -> None:
        """Forgets all exchanges."""
        self.exchanges.clear()
        self.write({"time": now(), "reset": True})

    def write(self, *lines: Line) -> None:
        """Adds lines to the transcript, if there is one."""
        if self.transcript is not None:
            with for_people(self.transcript):
                self.transcript.parent.mkdir(parents=True, exist_ok=True)
                with self.transcript.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    def save(self, path: Path) -> None:
        """Writes all that has been said into a new file."""
        with for_people(path):
            if path.exists():
                raise BadInput(f"{path} is there already; name another file")
            if not path.parent.is_dir():
                raise BadInput(f"{path}: there is no folder {path.parent}; make it, or name another file")
            write_jsonl(path, (exchange.as_line() for exchange in self.exchanges))

    def load(self, path: Path) -> None:
        """Goes on from a transcript: what was not taken back in it, the last system text and sampling."""
        with for_people(path):
            if not path.is_file():
                raise BadInput(f"{path} not found")
            read = read_exchanges(path)
            going_on = self.transcript is not None and self.transcript.exists() and self.transcript.samefile(path)
        if read:
            self.exchanges, self.system, self.sampling = read, read[-1].system, read[-1].sampling
            if not going_on:  # the transcript is to hold what its later lines go on from
                self.write({"time": now(), "reset": True}, *(exchange.as_line() for exchange in read))


def read_exchanges(path: Path) -> list[Exchange]:
    """The exchanges of a transcript, without those that were taken back."""
    exchanges: list[Exchange] = []
    for number, line in enumerate(read_jsonl(path), 1):
        marks = {mark for mark in ("retry", "undo", "reset") if isinstance(line, dict) and line.pop(mark, False)}
        if marks & {"retry", "undo"} and exchanges:
            exchanges.pop()
        if "reset" in marks:
            exchanges.clear()
        if not marks & {"undo", "reset"}:
            try:
                exchanges.append(to_dataclass(line, Exchange, [str(path), f"line {number}"], {}))
            except BadInput as error:
                raise BadInput(f"this is no transcript: {error}") from None
    return exchanges


@contextmanager
def for_people(path: Path) -> Iterator[None]:
    """What the disk says of a file becomes one line: a conversation does not end for it."""
    try:
        yield
    except OSError as fault:
        raise BadInput(f"{path}: {fault.strerror}; name another file") from None
