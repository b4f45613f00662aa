"""One evaluation set under one model: what it answers to each item, and the measures of these answers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from scorer.entities import to_tags
from scorer.examples import ANSWER_TOKENS, SHOTS, WRITTEN, Example, Wording, find_wording, read_examples
from scorer.generate import begin_list, write_answers, write_lists
from scorer.judges import Judges, bert_scores, entailment_scores
from scorer.metrics import Scores, chance_level, chrf, class_scores, draws, entity_scores, exact_match, rouge_l, word_f1
from scorer.prompts import Prompt, draw_shots, make_prompts
from snakmodel.config import BadInput
from snakmodel.likelihood import encode, option_log_likelihoods
from snakmodel.testsets import TestSet

# ScandEval's name of each task, and what is measured; the first stands for the task: the column of SnakModel's paper
TASKS = {
    "acceptability": ("linguistic-acceptability", ["macro_f1", "mcc", "accuracy"]),
    "sentiment": ("sentiment-classification", ["macro_f1", "mcc", "accuracy"]),
    "entities": ("named-entity-recognition", ["micro_f1", "micro_f1_no_misc"]),
    "reading": ("reading-comprehension", ["f1", "em"]),
    "summary": ("summarization", ["rouge_l", "chrf"]),  # before them BERTScore, where a model for it is named
    "knowledge": ("knowledge", ["accuracy", "mcc", "macro_f1"]),
    "common-sense": ("common-sense-reasoning", ["accuracy", "mcc", "macro_f1"]),
    "translation": ("translation", ["chrf", "rouge_l"]),
    "instruction": ("instruction-following", ["rouge_l", "chrf"]),
}
VERSION = "3"  # of the built-in scorer: another one where a change moves scores
# nats: what lies closer is equal but for rounding; the first option then wins, however items were batched
TIE = 1e-4


@dataclass
class Loaded:
    """A set that has been read, with the examples that its prompts show."""

    name: str
    testset: TestSet  # its revision is known
    wording: Wording | None  # None: items stand by themselves
    examples: list[Example]
    shots: list[Example]
    human: dict[str, tuple[int, int]]  # whose answers people have judged -> how many, and how many they accepted


class Answered(NamedTuple):
    """What a model has answered to the items of a set."""

    texts: list[str]
    places: list[int]  # of the options chosen; none where answers are written
    margins: list[float]  # nats by which the right option is ahead of the best other one; likewise
    shots: list[int]  # in each prompt
    cut: int  # prompts that hold their item in part


class Measured(NamedTuple):
    """The scores of each resample, and all that a record says besides."""

    raw: list[Scores]
    metric: str
    chance: float | None
    items: list[dict[str, Any]]
    failed: int
    shots: list[int]
    cut: int


def load_set(name: str, testset: TestSet, seed: int) -> Loaded:
    """Reads the items of a set's split, and draws the examples of its prompts from its training split."""
    wording = find_wording(name, testset)
    asked = read_examples(name, testset, wording, testset.split)
    examples = [example for example in asked if answerable(example, testset)]
    if not examples:
        raise BadInput(f"test set {name}: people accepted no answer to its {len(asked)} items; nothing can be compared")
    assert testset.task is not None
    count = testset.shots if testset.shots is not None else SHOTS.get(testset.task, 5)
    shots: list[Example] = []
    if wording is not None and count:
        if testset.split == "train":
            raise BadInput(f"test set {name}: its items are the split that examples are drawn from; say shots: 0")
        pool = [each for each in read_examples(name, testset, wording, "train") if answerable(each, testset)]
        shots = draw_shots(pool, testset.task, count, seed)
    human: dict[str, tuple[int, int]] = {}
    for model in testset.judged:
        verdicts = [accepted for example in asked for judged, accepted in example.verdicts if judged == model]
        human[model] = len(verdicts), sum(verdicts)
    return Loaded(name, testset, wording, examples, shots, human)


def answerable(example: Example, testset: TestSet) -> bool:
    """Whether there is something that answers can be compared with."""
    return not testset.judged or bool(example.gold)


def answer(model: Any, tokenizer: Any, loaded: Loaded, window: int, batch_tokens: int) -> Answered:
    """A model's answers: the option whose tokens are likeliest together, or what it writes, the likeliest token first.

    Items whose prompts hold equally many examples are answered together, since these have most in common.
    """
    examples, task = loaded.examples, loaded.testset.task
    assert task is not None
    written, most = task in WRITTEN, loaded.testset.answer_tokens or ANSWER_TOKENS.get(task, 256)
    if loaded.wording is None:
        prompts = [Prompt(example.slots["text"], [], 0, False) for example in examples]
        options = [example.options for example in examples]
    else:
        options = [[f" {option}" for option in example.options] for example in examples]
        different = sorted({option for each in options for option in each})
        room = most if written else 3 + max(len(ids) for ids in encode(tokenizer, different))
        if task == "entities":  # what is given of the answer takes room too
            empty = {name: ["x"] for name in loaded.wording.labels.values()}
            room += len(encode(tokenizer, [begin_list(empty, "x")])[0])
        prompts = make_prompts(tokenizer, loaded.wording, loaded.shots, examples, window, room)
    texts, places, margins = [""] * len(examples), [0] * len(examples), [0.0] * len(examples)
    for kept in sorted({prompt.shots for prompt in prompts}):
        group = [number for number, prompt in enumerate(prompts) if prompt.shots == kept]
        if written:
            if task == "entities" and loaded.wording:
                names = list(loaded.wording.labels.values())
                texts_asked = [prompts[number].text for number in group]
                found = write_lists(model, tokenizer, texts_asked, names, most, window, batch_tokens)
            else:
                ids = [prompts[number].ids for number in group]
                found = write_answers(model, tokenizer, ids, most, ["\n\n"], batch_tokens)
            for number, text in zip(group, found, strict=True):
                texts[number] = text
            continue
        questions = [(prompts[number].text, options[number]) for number in group]
        for number, sums in zip(group, option_log_likelihoods(model, tokenizer, questions, batch_tokens), strict=True):
            places[number], margins[number] = choose(sums, examples[number].gold)
            texts[number] = options[number][places[number]].strip()
    shots, cut = [prompt.shots for prompt in prompts], sum(prompt.cut for prompt in prompts)
    return Answered(texts, [] if written else places, [] if written else margins, shots, cut)


def choose(sums: list[float], right: int) -> tuple[int, float]:
    """The place of the likeliest option, and how far the right one is ahead of the best other one, in nats."""
    place = next(place for place, total in enumerate(sums) if total >= max(sums) - TIE)
    return place, sums[right] - max(total for other, total in enumerate(sums) if other != right)


def measure(loaded: Loaded, answered: Answered, resamples: np.ndarray, judges: Judges) -> Measured:
    """The measures of a set's answers over resamples of its items, and each item's own score."""
    task = loaded.testset.task or ""
    metrics = TASKS[task][1]
    golds = [example.gold for example in loaded.examples]
    chance, failed = None, sum(not text for text in answered.texts)
    if answered.places:
        if loaded.wording is None and task == "acceptability":  # of two sentences: a class is no more than a place
            metrics = ["accuracy", "macro_f1", "mcc"]
        raw = [class_scores(draws(golds, chosen), draws(answered.places, chosen), metrics) for chosen in resamples]
        scores = [float(gold == place) for gold, place in zip(golds, answered.places, strict=True)]
        chance = chance_level(golds, [len(example.options) for example in loaded.examples], metrics[0])
        rights = [example.options[example.gold].strip() for example in loaded.examples]
    elif task == "entities":
        rights = [example.answer for example in loaded.examples]
        tags, found = [gold["tags"] for gold in golds], [json.loads(text) for text in answered.texts]
        names = loaded.wording.labels if loaded.wording else {}
        guesses = [to_tags(gold["tokens"], each, names) for gold, each in zip(golds, found, strict=True)]
        raw = [entity_scores(draws(tags, chosen), draws(guesses, chosen)) for chosen in resamples]
        scores = [entity_scores([right], [guess])[metrics[0]] for right, guess in zip(tags, guesses, strict=True)]
    elif task == "reading":
        rights = [example.answer for example in loaded.examples]
        pairs = list(zip(golds, answered.texts, strict=True))
        scores = [word_f1(*pair) for pair in pairs]
        raw = averages({"f1": scores, "em": [exact_match(*pair) for pair in pairs]}, resamples)
    else:
        rights = [gold[0] for gold in golds]
        each = {"rouge_l": rouge_l(golds, answered.texts)}
        if judges.bert is not None and task == "summary":
            each = {"bertscore": bert_scores(golds, answered.texts, *judges.bert)} | each
            metrics = ["bertscore", *metrics]
        if judges.entailment is not None and task == "summary":
            articles = [example.slots["text"] for example in loaded.examples]
            each["entailment"] = entailment_scores(articles, answered.texts, *judges.entailment)
        raw = averages(each, resamples)
        for row, chosen in zip(raw, resamples, strict=True):
            row["chrf"] = chrf(draws(golds, chosen), draws(answered.texts, chosen))
        if metrics[0] == "chrf":
            scores = [chrf([gold], [text]) for gold, text in zip(golds, answered.texts, strict=True)]
        else:
            scores = each[metrics[0]]
    items = [
        {"dataset": loaded.name, "item": example.id, "prediction": text, "answer": right, "score": score}
        for example, text, right, score in zip(loaded.examples, answered.texts, rights, scores, strict=True)
    ]
    for number, item in enumerate(items):
        item["margin"] = answered.margins[number] if answered.margins else None
    return Measured(raw, metrics[0], chance and 100 * chance, items, failed, answered.shots, answered.cut)


def averages(each: Mapping[str, Sequence[float]], resamples: np.ndarray) -> list[Scores]:
    """Of each resample the mean of the items' scores."""
    return [{name: float(np.mean(np.array(scores)[chosen])) for name, scores in each.items()} for chosen in resamples]
