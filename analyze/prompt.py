"""Talk to checkpoints, one or several side by side: Ctrl-C stops an answer, Ctrl-D leaves, /help says more.

python analyze/prompt.py --config configs/tiny.yaml series=pretrained steps=0,160,320
python analyze/prompt.py models=ORG/NAME        # any model, a folder or from the Hub: no recipe is needed

Models with a chat template chat; others continue each text by itself. docs/prompting.md has more.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from analyze import terminal
from analyze.conversation import Conversation
from analyze.speakers import MOST_SEED, WITHOUT_RUN, Choice, Piece, Sampling, Speaker, change, find_models, load_speaker
from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.settings import nearest

COMMANDS = {
    "/help": "this list",
    "/system TEXT": "what a chatting model is told before everything; without TEXT: nothing",
    "/settings": "all that follows, as it is now",
    "/seed N": "seed of the answers from now on; without N: what it is (so the next three, too)",
    "/temperature X": "0: always the likeliest token",
    "/top_p X": "sample among the likeliest tokens that hold this much probability",
    "/new_tokens N": "longest answer, in tokens",
    "/steps 0,320": "other steps of the same series; the conversation goes on",
    "/retry": "the last prompt again, with the next seed (or the one set since)",
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
        file = self.settings.transcript
        self.conversation = Conversation(sampling, transcript=None if file is None else file_named(file))
        self.conversation.write()  # where nothing can be written is told at once
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

    def ask(self, prompt: str, retry: bool = False) -> None:
        """Shows what the models answer as they write it, and remembers it: what Ctrl-C stops, as far as it came.

        retry: it takes the last exchange's place, once there is any answer.
        """
        if not self.speakers:
            raise BadInput("no model is loaded; /steps chooses some")
        names = [speaker.name for speaker in self.speakers]
        answers: dict[str, str] = {}  # of the models that have begun
        texts = []
        for speaker in self.speakers:
            pieces, skipped = self.conversation.ask(speaker, prompt, retry)
            texts.append(collect(pieces, answers, speaker.name))
            if skipped:
                say(f"{speaker.name} has no room for all of this: the first {skipped} exchanges are left out")
        width, stopped = terminal.column_width(len(texts)), False
        try:
            if width is not None:
                terminal.show_beside(names, texts, width)
            else:
                for name, text in zip(names, texts, strict=True):
                    terminal.show_below(name if len(texts) > 1 else None, text)
        except KeyboardInterrupt:
            stopped = True
        if any(answers.values()) or not stopped:
            self.conversation.add(prompt, answers, retry)

    def show_settings(self) -> None:
        """Says which models talk, and what decides how they answer."""
        for speaker in self.speakers:
            say(f"{speaker.name} {speaker.manner}")
        for name, value in asdict(self.conversation.sampling).items():
            say(f"{name} {value}")
        say(f"system text: {self.conversation.system or 'none'}")
        say(f"transcript: {self.conversation.transcript or 'none'}")

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
                if words:
                    talk.sampling = change(talk.sampling, name, words, f"/{name}")
                say(f"{name} {getattr(talk.sampling, name)}")
            case "settings":
                self.show_settings()
            case "steps":
                if self.settings.models:
                    raise BadInput("these models are no steps of a series")
                self.choose(replace(self.settings, steps=words))
            case "retry" | "undo" if not talk.exchanges:
                raise BadInput("nothing has been said")
            case "retry":
                last = talk.exchanges[-1]
                if talk.sampling.seed == last.sampling.seed:  # else it has been set since
                    talk.sampling = replace(talk.sampling, seed=min(last.sampling.seed + 1, MOST_SEED))
                say(f"seed {talk.sampling.seed}: {last.prompt}")
                self.ask(last.prompt, retry=True)
            case "undo":
                say(f"forgotten: {talk.undo().prompt}")
            case "reset":
                talk.reset()
                say("all is forgotten")
            case "save" | "load" if not words:
                raise BadInput(f"{command} FILE")
            case "save":
                talk.save(file_named(words))
                say(f"{words}: exchanges {len(talk.exchanges)}")
            case "load":
                talk.load(file_named(words))
                say(f"{words}: exchanges {len(talk.exchanges)}; seed {talk.sampling.seed}")
            case _:
                raise BadInput(f"{command} is no command; {nearest(command, command_names())}")


def collect(pieces: Iterator[Piece], answers: dict[str, str], name: str) -> Iterator[str]:
    """The texts of an answer, added to the answers as they come."""
    for piece in pieces:
        answers[name] = answers.get(name, "") + piece.text
        yield piece.text


def file_named(words: str) -> Path:
    """A file as it was typed; ~ is the home folder."""
    try:
        return Path(words).expanduser()
    except RuntimeError as fault:  # ~NAME of nobody
        raise BadInput(f"{words}: {fault}") from None


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
            line.encode()  # what is no text in UTF-8 comes as halves of surrogate pairs, which no tokenizer takes
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
        except UnicodeError:
            say("error: this is not UTF-8; set the terminal to it, or convert the text")
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise


if __name__ == "__main__":
    run_script(main)
