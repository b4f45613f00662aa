"""Trace how probable answers are over a series: when did it learn this?

python analyze/answers.py --config configs/tiny.yaml
python analyze/answers.py --config configs/tiny.yaml questions.capital.prompt="Danmarks hovedstad hedder" \
    questions.capital.answers=København,Aarhus

The first answer of a question is the right one. plot/answers.py draws it.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import TemplateError

from analyze.speakers import Choice, Speaker, load_speaker
from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.paths import PRETRAINED, step_name
from snakmodel.records import begin, is_current, read_json, write_json
from snakmodel.series import choose, read_series

Row = dict[str, Any]


@dataclass
class Question:
    prompt: str = knob(help="a text to continue; where a tokenizer has a chat template, a question to answer")
    answers: list[str] = knob(help="the right one, then others; a space parts them from the prompt")


@dataclass
class Settings:
    questions: dict[str, Question] = knob({}, "name -> prompt and answers; each has a record of its own")
    series: list[str] = knob([PRETRAINED], "series to ask: pretrained, tuned variants, or hub:ORG/NAME")
    steps: str = knob("all", "steps to ask: all, first, last, numbers or START:STOP:STRIDE")
    batch_tokens: int = knob(4_096, "most tokens in a batch, padding included", low=1)


def main() -> None:
    command: Command[Any] = read_command(Settings, "answers", __doc__)
    s, folder = command.settings, command.run.folder("answers")
    for name, question in s.questions.items():
        check(name, question)
    together: dict[str, list[Row]] = {name: [] for name in s.questions}
    asked = set()
    for series in s.series:
        there = read_series(command.run.series(series))
        chosen = choose(there, s.steps, f"{command.config}: answers.steps")
        for checkpoint in there:
            speaker: Speaker | None = None  # one model at a time, and none where every question is answered
            for name, question in s.questions.items():
                place = folder / name / series / step_name(checkpoint.step)
                inputs = {"model": checkpoint.source}
                # of a question alone: others may come and go
                alone = replace(command, settings=question)
                work = begin(alone, place, inputs, derived=True) if checkpoint in chosen else None
                if work is not None:
                    speaker = speaker or load_speaker(series, checkpoint.location, Choice())
                    facts = {"question": name, "series": series, "step": checkpoint.step}
                    facts |= {"tokens": checkpoint.row.get("tokens")}
                    try:
                        told = ask(speaker.model, speaker.tokenizer, question, s.batch_tokens)
                    except BadInput as error:
                        raise BadInput(f"answers.questions.{name}: {error}") from None
                    rows = [facts | row for row in told]
                    write_json(place / "rows.json", {"rows": rows})
                    work.finish(rows=len(rows))
                    asked.add(name)
                if is_current(place, inputs, question):
                    together[name] += read_json(place / "rows.json")["rows"]
                elif not command.check and (place / "run.json").is_file():
                    print(f"answers {name}, {series} {place.name}: left out, was asked otherwise or of another model")
    if command.check:
        return
    for name, rows in together.items():
        write_json(folder / f"{name}.json", {"rows": rows})
        if name in asked:
            show(rows)


def check(name: str, question: Question) -> None:
    """Refuses a question that cannot be asked."""
    if not re.fullmatch(r"[\w-]+", name):
        raise BadInput(f"answers.questions: {name!r} cannot be a file's name; take letters, digits, - and _")
    if not question.answers or not all(answer.strip() for answer in question.answers):
        raise BadInput(f"answers.questions.{name}.answers should be texts, got {question.answers!r}")
    if twice := sorted({answer for answer in question.answers if question.answers.count(answer) > 1}):
        raise BadInput(f"answers.questions.{name}.answers has {', '.join(map(repr, twice))} twice; give each once")


def ask(model: Any, tokenizer: Any, question: Question, batch_tokens: int) -> list[Row]:
    """A row an answer: how probable it is that what the model says begins with it, and its share among the answers."""
    import numpy as np
    from scipy.special import softmax

    from snakmodel.likelihood import option_log_likelihoods

    if tokenizer.chat_template:
        nats = chat_log_likelihoods(model, tokenizer, question, batch_tokens)
    else:
        # each by itself: what all answers begin with counts, too
        alone = [(question.prompt.rstrip(), [f" {answer.strip()}"]) for answer in question.answers]
        nats = [sums[0] for sums in option_log_likelihoods(model, tokenizer, alone, batch_tokens)]
    how = {"format": "chat" if tokenizer.chat_template else "text", "prompt": question.prompt}
    return [
        {**how, "answer": answer, "nats": n, "probability": float(np.exp(n)), "share": float(share)}
        for answer, n, share in zip(question.answers, nats, softmax(nats), strict=True)
    ]


def chat_log_likelihoods(model: Any, tokenizer: Any, question: Question, batch_tokens: int) -> list[float]:
    """Sum of log p(answer tokens | the question in the chat template) of each answer, in nats, without its end."""
    from snakmodel.likelihood import sum_log_probabilities
    from snakmodel.prompts import IGNORED, NotLearnable, training_ids

    sequences = []
    for answer in question.answers:
        turns = [{"role": "user", "content": question.prompt}, {"role": "assistant", "content": answer.strip()}]
        try:
            ids, labels = training_ids(tokenizer, turns)
        except (NotLearnable, TemplateError) as reason:
            raise BadInput(f"{tokenizer.name_or_path}: {question.prompt!r} with {answer!r} {reason}") from None
        learnt = [place for place, label in enumerate(labels) if label != IGNORED]
        sequences.append((ids[: learnt[-1]], learnt[0]))
    return sum_log_probabilities(model, sequences, batch_tokens)


def show(rows: list[Row]) -> None:
    """Prints a question's table, a line a step, and from when on the right answer is the likeliest."""
    answers = list(dict.fromkeys(row["answer"] for row in rows))
    for series in dict.fromkeys(row["series"] for row in rows):
        mine = [row for row in rows if row["series"] == series]
        by_step: dict[int, list[Row]] = {}
        for row in mine:
            by_step.setdefault(row["step"], []).append(row)
        print(f"{mine[0]['question']}, {series}: {mine[0]['prompt']!r}; probability, share among the answers")
        print(" " * 10 + "".join(f"{answer[:20]:>22}" for answer in answers))
        for step, at in by_step.items():
            cells = {row["answer"]: f"{row['probability']:.3g} {row['share']:5.1%}" for row in at}
            print(f"step {step:<5}" + "".join(f"{cells[answer]:>22}" for answer in answers))
        if len(answers) > 1:
            learnt = learnt_at([(step, [row["share"] for row in at]) for step, at in by_step.items()])
            print(
                f"the likeliest of them from step {learnt} on" if learnt is not None else "not the likeliest at the end"
            )


def learnt_at(shares: list[tuple[int, list[float]]]) -> int | None:
    """The first step from which on the first answer is always the likeliest; None: it is not so at the last step."""
    since = None
    for step, (right, *others) in shares:
        if right <= max(others):
            since = None
        elif since is None:
            since = step
    return since


if __name__ == "__main__":
    run_script(main)
