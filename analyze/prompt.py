"""Talk to checkpoints, one or several side by side: Ctrl-C stops an answer, Ctrl-D leaves, /help says more.

python analyze/prompt.py --config configs/tiny.yaml series=pretrained steps=0,160,320
python analyze/prompt.py models=ORG/NAME        # any model, a folder or from the Hub: no recipe is needed

Models with a chat template chat; others continue each text by itself. docs/prompting.md has more.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

from analyze import terminal
from analyze.conversation import Conversation, append_line
from analyze.speakers import WITHOUT_RUN, Choice, Piece, Sampling, Speaker, find_models, load_speaker
from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.settings import check_range, convert, nearest

COMMANDS = {
    "/help": "this list",
    "/system TEXT": "what a chatting model is told before everything; without TEXT: nothing",
    "/seed N": "seed of the answers from now on",
    "/temperature X": "0: always the likeliest token",
    "/top_p X": "sample among the likeliest tokens that hold this much probability",
    "/new_tokens N": "longest answer, in tokens",
    "/steps 0,320": "other steps of the same series; the conversation goes on",
    "/retry": "the last prompt again, with the next seed",
    "/undo": "forget the last prompt and its answers",
    "/reset": "forget all prompts and answers",
    "/save FILE": "write the conversation as JSON lines",
    "/load FILE": "go on with such a conversation",
    "/quit": "or Ctrl-D",
}


@dataclass
class Settings(Choice, Sampling):
    new_tokens: int = knob(256, "longest answer, in tokens", low=1)
    system: str = knob("", "what a chatting model is told before everything")
    transcript: str | None = knob(None, "JSON lines file to which each exchange is added; null: none")


class Talk:
    """A conversation with the models that the settings choose, in a terminal; our own words go to stderr."""

    def __init__(self, command: Command[Settings]) -> None:
        self.command, self.settings = command, command.settings
        self.speakers: list[Speaker] = []
        sampling = Sampling(**{f.name: getattr(self.settings, f.name) for f in fields(Sampling)})
        self.conversation = Conversation(sampling)
        self.choose(self.settings)
        self.tell(self.settings.system)

    def choose(self, settings: Settings) -> None:
        """Loads the models that the settings choose, those that are not there yet."""
        models = find_models(self.command, settings)
        # the others go before new ones come: there may be no room for all
        there = {speaker.name: speaker for speaker in self.speakers if speaker.name in models}
        self.speakers, self.settings = [], settings
        for name, location in models.items():
            speaker = there.get(name) or load_speaker(name, location, settings)
            self.speakers.append(speaker)
            say(f"{name if name == location else f'{name} ({location})'} {speaker.manner}")

    def tell(self, system: str) -> None:
        """Sets the system text."""
        if system and not any(speaker.chats for speaker in self.speakers):
            raise BadInput("no model here chats, so none would be told a system text")
        self.conversation.system = system

    def ask(self, prompt: str) -> None:
        """Shows what the models answer as they write it, and remembers it: what Ctrl-C stops, as far as it came."""
        if not self.speakers:
            raise BadInput("no model is loaded; /steps chooses some")
        answers = {speaker.name: "" for speaker in self.speakers}
        texts = []
        for speaker in self.speakers:
            pieces, skipped = self.conversation.ask(speaker, prompt)
            texts.append(collect(pieces, answers, speaker.name))
            if skipped:
                say(f"{speaker.name} has no room for all of this: the first {skipped} exchanges are left out")
        width, stopped = terminal.column_width(len(texts)), False
        try:
            if width is not None:
                terminal.show_beside(list(answers), texts, width)
            else:
                for name, text in zip(answers, texts, strict=True):
                    terminal.show_below(name if len(texts) > 1 else None, text)
        except KeyboardInterrupt:
            stopped = True
        if any(answers.values()) or not stopped:
            exchange = self.conversation.add(prompt, answers)
            if self.settings.transcript is not None:
                append_line(Path(self.settings.transcript), exchange.as_line())

    def obey(self, line: str) -> None:
        """Carries out a line that begins with a slash."""
        command, _, words = line.partition(" ")
        words, talk = words.strip(), self.conversation
        match command.removeprefix("/"):
            case "help":
                say("\n".join(f"{name:<16} {what}" for name, what in COMMANDS.items()))
            case "system":
                self.tell(words)
                say(f"system text: {words or 'none'}")
            case "seed" | "temperature" | "top_p" | "new_tokens" as name:
                talk.sampling = change(talk.sampling, name, words)
                say(f"{name} {getattr(talk.sampling, name)}")
            case "steps":
                if self.settings.models:
                    raise BadInput("these models are no steps of a series")
                self.choose(replace(self.settings, steps=words))
            case "retry" | "undo" if not talk.exchanges:
                raise BadInput("nothing has been said")
            case "retry":
                last = talk.exchanges.pop()
                talk.sampling = replace(talk.sampling, seed=last.sampling.seed + 1)
                say(f"seed {talk.sampling.seed}: {last.prompt}")
                self.ask(last.prompt)
            case "undo":
                say(f"forgotten: {talk.exchanges.pop().prompt}")
            case "reset":
                talk.exchanges.clear()
                say("all is forgotten")
            case "save" | "load" if not words:
                raise BadInput(f"{command} FILE")
            case "save":
                talk.save(Path(words).expanduser())
                say(f"{words}: {len(talk.exchanges)} exchanges")
            case "load":
                talk.load(Path(words).expanduser())
                say(f"{words}: {len(talk.exchanges)} exchanges; seed {talk.sampling.seed}")
            case _:
                raise BadInput(f"{command} is no command; {nearest(command, command_names())}")


def collect(pieces: Iterator[Piece], answers: dict[str, str], name: str) -> Iterator[str]:
    """The texts of an answer, added to the answers as they come."""
    for piece in pieces:
        answers[name] += piece.text
        yield piece.text


def change(sampling: Sampling, name: str, text: str) -> Sampling:
    """The sampling settings with one of them as it was typed."""
    (setting,) = (f for f in fields(sampling) if f.name == name)
    value = convert(text, setting.type, f"/{name}")
    check_range(value, setting.metadata, f"/{name}")
    return replace(sampling, **{name: value})


def command_names() -> tuple[str, ...]:
    """The commands without what follows them."""
    return tuple(name.partition(" ")[0] for name in COMMANDS)


def say(words: str) -> None:
    """Our own words, apart from the models', which alone go into a pipe."""
    print(words, file=sys.stderr, flush=True)


def main() -> None:
    command = read_command(Settings, "prompt", __doc__, config=WITHOUT_RUN)
    if command.check:
        say("\n".join(find_models(command, command.settings).values()))
        return
    talk, read_line = Talk(command), terminal.line_reader(command_names())
    if sys.stdin.isatty():
        say("/help lists commands; Ctrl-D leaves")
    while True:
        try:
            line = read_line()
            if line.strip() == "/quit":
                return
            if line.startswith("/"):
                talk.obey(line.strip())
            elif line.strip():
                talk.ask(line)
        except EOFError:
            return
        except BadInput as error:
            say(f"error: {error}")
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise


if __name__ == "__main__":
    run_script(main)
