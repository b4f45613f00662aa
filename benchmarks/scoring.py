"""The scorer beside scoring one by one: as many predictions a second or more, and the same ones.

PYTHONPATH=evaluate python benchmarks/scoring.py configs/tiny.yaml [REPEATS [key=value ...]]

On the last step of a finished run, with the sets of its recipe. One by one: each option of each item is read with its
whole prompt by itself, and answers are written prompt by prompt, all with keys and values kept as `generate` does.
Runs alternate; medians of items a second, by the clock and by CPU time.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from builtin import Settings
from scorer import generate, score
from scorer.asked import find_asked, read_asked
from scorer.generate import write_answers

from snakmodel.config import read_command
from snakmodel.likelihood import split_options, sum_log_probabilities
from snakmodel.models import load_scorer
from snakmodel.paths import PRETRAINED
from snakmodel.series import read_series

Answers = dict[str, score.Answered]


def options_one_by_one(model: Any, tokenizer: Any, questions: Any, batch_tokens: int) -> list[list[float]]:
    """What option_log_likelihoods gives, each option by itself."""
    sums = []
    for question in questions:
        context, options = split_options(tokenizer, *question)
        sums.append([sum_log_probabilities(model, [(context + ids, len(context))], 1)[0] for ids in options])
    return sums


def answers_one_by_one(
    model: Any, tokenizer: Any, prompts: Any, most_tokens: int, stops: list[str], batch_tokens: int
) -> list[str]:
    """What write_answers gives, each prompt by itself."""
    return [write_answers(model, tokenizer, [ids], most_tokens, stops, 1)[0] for ids in prompts]


def main() -> None:
    command = read_command(Settings, "builtin", __doc__, ["--config", sys.argv[1], *sys.argv[3:]])
    s, repeats = command.settings, int(sys.argv[2]) if len(sys.argv) > 2 else 3
    asked = [each for each in find_asked(s, []) if each.testset is not None]
    read_asked(s, asked)
    loaded = [each.loaded for each in asked if each.loaded is not None]
    assert len(loaded) == len(asked), [each.fault for each in asked]
    model, tokenizer = load_scorer(read_series(command.run.series(PRETRAINED))[-1].location)
    window = min(s.prompt_window or model.config.max_position_embeddings, model.config.max_position_embeddings)
    ours = score.option_log_likelihoods, score.write_answers
    ways = {"one by one": (options_one_by_one, answers_one_by_one), "ours": ours}

    def run(way: str, names: set[str]) -> Answers:
        score.option_log_likelihoods, score.write_answers = ways[way]
        generate.write_answers = score.write_answers  # which lists of entities are written by
        chosen = [each for each in loaded if each.name in names]
        return {each.name: score.answer(model, tokenizer, each, window, s.batch_tokens) for each in chosen}

    everything = {each.name for each in loaded}
    few_shot = {each.name for each in loaded if each.shots}
    for label, names in {"all sets": everything, "sets with examples in their prompts": few_shot}.items():
        items = sum(len(each.examples) for each in loaded if each.name in names)
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        found: dict[str, Answers] = {}
        for _ in range(repeats):
            for way in ways:
                seconds, found[way] = timed(lambda way=way, names=names: run(way, names))
                times[way].append(seconds)
        one, other = found["one by one"], found["ours"]
        different = sum(
            one_text != other_text
            for name in names
            for one_text, other_text in zip(one[name].texts, other[name].texts, strict=True)
        )
        print(f"{label}: {items:,} items of {len(names)} sets, {different} predictions differ")
        for unit, part in (("clock", 0), ("CPU", 1)):
            rates = {way: items / statistics.median(row[part] for row in rows) for way, rows in times.items()}
            ratio = rates["ours"] / rates["one by one"]
            told = ", ".join(f"{way} {rate:.1f}" for way, rate in rates.items())
            print(f"  items a second by the {unit}: {told}; ratio {ratio:.2f}", flush=True)


def timed(work: Callable[..., Answers]) -> tuple[tuple[float, float], Answers]:
    """(seconds by the clock, CPU seconds) of some work, and what it gives."""
    clock, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    found = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return (time.perf_counter() - clock, cpu), found


if __name__ == "__main__":
    main()
