"""Find the tokens whose vectors have moved most and least, by kind and by frequency, and whose neighbours have changed.

python analyze/embeddings.py --config configs/tiny.yaml

Both the input embedding and the output head, of vocabularies that may differ: tokens are told by their text. Writes
analysis/embeddings.json (ends and neighbours), analysis/embeddings.parquet (means by group), and of each step every
token in tokens.parquet; what each number means stands in analyze/README.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analyze.pairs import Row, SeriesSettings, Step, all_finished, find_steps, write_table
from analyze.tensors import Model, describe, open_model
from snakmodel.comparisons import ADAPTERS
from snakmodel.config import BadInput, Command, knob, read_command, run_script
from snakmodel.records import begin, read_json, write_json
from snakmodel.series import Checkpoint

UNITS = {"l1": "weight", "cosine": "cosine", "relative": "ratio"}
MATRICES = ("embed_tokens", "lm_head")
BLOCK = 2**10  # vectors widened at a time
STARTS = ("▁", "Ġ", "")  # of a token that is a word: SentencePiece's mark, byte-level BPE's, none
PAIR = {"series": "string", "step": "int64", "against": "string", "against_step": "int64", "matrix": "string"}
GROUPS = PAIR | {"grouping": "string", "group": "string", "tokens": "int64", "measure": "string", "unit": "string"}
GROUPS |= {"mean": "double", "median": "double"}
TOKENS = (
    PAIR | {"row": "int64", "token": "string", "class": "string", "count": "int64"} | dict.fromkeys(UNITS, "double")
)

Values = dict[str, np.ndarray]  # measure -> value of each token


@dataclass
class Settings(SeriesSettings):
    top_k: int = knob(20, "tokens listed at either end (the paper: 200)", low=1)
    per_class: int = knob(5, "and of each class of tokens", low=1)
    letters: str = knob("æøåÆØÅ", "a token that has one is of the class 'own letters'")
    words_of: dict[str, str] = knob({}, "language -> documents (Parquet) whose words are that language's")
    words: list[str] = knob([], "whose nearest neighbours are told, before and after, where they are one token")
    neighbours: int = knob(10, "how many", low=1)


def main() -> None:
    command = read_command(Settings, "embeddings", __doc__)
    s, folder = command.settings, command.run.folder("embeddings")
    if mistaken := [name for name in s.series if name.startswith(ADAPTERS)]:
        raise BadInput(f"{command.config}: embeddings.series {mistaken[0]}: take the merged series; it holds them all")
    inputs: dict[str, str | Path] = {f"words of {language}": Path(path) for language, path in s.words_of.items()}
    if (command.run.folder("make_shards") / "run.json").is_file():
        inputs["shards"] = command.run.folder("make_shards")
    steps, asked = find_steps(command)
    if command.overwrite or command.check:  # what is to be replaced is not thrown away for text that cannot be read
        from analyze.token_classes import read_words

        for path in s.words_of.values():
            read_words(Path(path))
    todo = []
    for step in asked:
        work = begin(command, step.folder, {**step.inputs, **inputs})
        if work is not None:
            todo.append((step, work))
    measured = measure_steps([step for step, _ in todo], command, inputs)
    for (step, work), (rows, groups) in zip(todo, measured, strict=True):
        write_json(step.folder / "groups.json", {"rows": groups})
        write_json(step.folder / "rows.json", {"rows": rows})
        work.finish(rows=len(rows))
        print(f"{step.series} {step.folder.name}: {len(rows)} rows against {', '.join(step.others)}", flush=True)
        if absent := sorted({near["word"] for row in rows for near in row["neighbours"] if near["token"] is None}):
            print(f"{step.series} {step.folder.name}: not one token here: {', '.join(absent)}", flush=True)
    if not command.check:
        places = all_finished(folder, {step.folder: {**step.inputs, **inputs} for step in steps})
        groups = [row for place in places for row in read_json(place / "groups.json")["rows"]]
        write_table(folder.with_suffix(".parquet"), groups, GROUPS)
        rows = [row for place in places for row in read_json(place / "rows.json")["rows"]]
        write_json(folder.with_suffix(".json"), {"rows": rows})


@dataclass(frozen=True)
class Vectors:
    """What of a model is compared: its tokens, and a vector of each."""

    vocabulary: dict[str, int]
    classes: dict[int, str]
    of: dict[str, Any]  # matrix -> [V, D]; a tied output head is not there


def measure_steps(
    steps: list[Step], command: Command[Settings], inputs: dict[str, str | Path]
) -> Iterator[tuple[list[Row], list[Row]]]:
    """Of each step in turn, what measure_step returns; a model that several steps are compared with is read once."""
    if not steps:
        return
    from analyze.token_classes import classify, count_tokens, read_words
    from snakmodel.models import load_tokenizer  # late, as torch is: a finished stage says so at once

    s, counts_V = command.settings, None
    words = {language: read_words(Path(path)) for language, path in s.words_of.items()}
    if "shards" in inputs:
        counts_V = count_tokens(Path(inputs["shards"]), command.run.folder("embeddings") / "token-counts.json")

    classes: dict[str, dict[int, str]] = {}  # of the vocabularies met so far; most series have one

    def read(checkpoint: Checkpoint) -> Vectors:
        tokenizer, model = load_tokenizer(checkpoint.location), open_model(checkpoint)
        told = repr([sorted(tokenizer.get_vocab().items()), tokenizer.all_special_ids, tokenizer.added_tokens_decoder])
        if told not in classes:
            classes[told] = classify(tokenizer, s.letters, words)
        return Vectors(tokenizer.get_vocab(), classes[told], read_vectors(model))

    models: dict[str, Vectors] = {}
    for step in steps:
        needed = {checkpoint.location: checkpoint for checkpoint in (step.checkpoint, *step.others.values())}
        models = {location: models[location] for location in needed.keys() & models.keys()}  # others make room
        models |= {location: read(needed[location]) for location in needed.keys() - models.keys()}
        yield measure_step(step, models, counts_V, s)


def measure_step(
    step: Step, models: dict[str, Vectors], counts_V: np.ndarray | None, s: Settings
) -> tuple[list[Row], list[Row]]:
    """Writes tokens.parquet of a step; returns a row a matrix, and a row a matrix, group of tokens and measure.

    models: location -> the step's vectors, and those that it is compared with; counts_V: of the tokens in the shards.
    """
    from analyze.token_classes import frequency_class

    model = models[step.checkpoint.location]
    names = {number: token for token, number in model.vocabulary.items()}
    rows, groups, tokens = [], [], []
    for against, other in step.others.items():
        before = models[other.location]
        for matrix, before_VD, after_VD in matrices(before.of, model.of):
            columns = {**step.columns(against), "matrix": matrix}
            pairs_T2 = align(before.vocabulary, model.vocabulary, len(before_VD), len(after_VD))
            numbers = pairs_T2[:, 1].tolist()
            told = [names.get(number, f"row {number}") for number in numbers]
            values = changes(before_VD, after_VD, pairs_T2)
            kinds = [model.classes.get(number, "no token") for number in numbers]
            groupings, counts, correlation = {"all": ["all"] * len(told), "class": kinds}, [None] * len(told), {}
            if counts_V is not None:
                counts = np.pad(counts_V, (0, max(len(after_VD) - len(counts_V), 0)))[numbers].tolist()
                groupings["frequency"] = [frequency_class(count) for count in counts]
                correlation = {"frequency_correlation": correlate(values["l1"], counts)}
            ends = rank(values["l1"], told, kinds, s)
            sizes = {"only_before": len(before_VD) - len(told), "only_after": len(after_VD) - len(told)}
            near = [neighbours(word, before_VD, after_VD, pairs_T2, told, s.neighbours) for word in s.words]
            rows.append({**columns, "tokens": len(told), **sizes, **correlation, **ends, "neighbours": near})
            for grouping, labels in groupings.items():
                groups += [{**columns, "grouping": grouping, **row} for row in summarise(values, np.array(labels))]
            listed = zip(numbers, told, kinds, counts, *(values[name].tolist() for name in UNITS), strict=True)
            tokens += [{**columns, **dict(zip(list(TOKENS)[len(PAIR) :], token, strict=True))} for token in listed]
    write_table(step.folder / "tokens.parquet", tokens, TOKENS)
    return rows, groups


def read_vectors(model: Model) -> dict[str, Any]:
    """The input embedding [V, D] and, where a model has its own, the output head."""
    names = {describe(name)["type"]: name for name in model.tensors}
    return {kind: model.read(names[kind]) for kind in MATRICES if kind in names}


def matrices(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The matrices that either model has, in both: a tied output head is the embedding."""
    for kind in MATRICES:
        if kind in before or kind in after:
            yield kind, before.get(kind, before["embed_tokens"]), after.get(kind, after["embed_tokens"])


def align(before: dict[str, int], after: dict[str, int], rows_before: int, rows_after: int) -> np.ndarray:
    """The rows [T, 2] of tokens that both models have: by text; of one vocabulary all rows, with a token or without."""
    if before == after:
        return np.arange(min(rows_before, rows_after))[:, None].repeat(2, axis=1)
    both = [(before[token], after[token]) for token in after if token in before]
    return np.array(sorted((b, a) for b, a in both if b < rows_before and a < rows_after)).reshape(-1, 2)


def changes(before_VD: Any, after_VD: Any, pairs_T2: np.ndarray) -> Values:
    """Of each pair of vectors a and b: l1, sum |b - a|, the paper's; cosine; relative, ||b - a|| / ||a||.

    NaN where a vector is zero: it has no direction.
    """
    import torch

    found = []
    for pairs in torch.from_numpy(pairs_T2).split(BLOCK):
        a, b = before_VD[pairs[:, 0]].double(), after_VD[pairs[:, 1]].double()
        sizes = a.norm(dim=1), b.norm(dim=1)
        cosine, relative = (a * b).sum(1) / sizes[0] / sizes[1], (b - a).norm(dim=1) / sizes[0]
        found.append(torch.stack([(b - a).abs().sum(1), cosine, relative.where(sizes[0] > 0, torch.nan)]))
    return dict(zip(UNITS, torch.cat(found, dim=1).numpy(), strict=True))


def rank(l1_T: np.ndarray, told: list[str], classes: list[str], s: Settings) -> Row:
    """Spread and ends of the paper's measure: the most and least changed tokens, of all and of each class.

    Rows without a token (a vocabulary padded to a round number) count, and are named "row 32001".
    """
    order = np.argsort(-l1_T, kind="stable").tolist()
    ranked = [{"token": told[row], "change": float(l1_T[row])} for row in order]
    by_class: dict[str, list[Row]] = {}
    for row, change in zip(order, ranked, strict=True):
        by_class.setdefault(classes[row], []).append(change)
    return {
        "mean": float(l1_T.mean()),
        "minimum": float(l1_T.min()),
        "maximum": float(l1_T.max()),
        "share_above_mean": float((l1_T > l1_T.mean()).mean()),
        "most": ranked[: s.top_k],
        "least": ranked[::-1][: s.top_k],
        "most_by_class": {name: by_class[name][: s.per_class] for name in sorted(by_class)},
        "least_by_class": {name: by_class[name][::-1][: s.per_class] for name in sorted(by_class)},
    }


def summarise(values: Values, labels_T: np.ndarray) -> Iterator[Row]:
    """A row a group and measure; vectors without a direction have no part in its mean and median."""
    for group in sorted(set(labels_T.tolist())):
        for measure, unit in UNITS.items():
            mine = values[measure][labels_T == group]
            mine = mine[np.isfinite(mine)]
            if len(mine):
                middle = {"mean": float(mine.mean()), "median": float(np.median(mine))}
                yield {"group": group, "tokens": len(mine), "measure": measure, "unit": unit, **middle}


def correlate(l1_T: np.ndarray, counts: list[int | None]) -> float | None:
    """Spearman's rank correlation of change and frequency; None where all are alike."""
    from scipy.stats import spearmanr

    if l1_T.min() == l1_T.max() or len(set(counts)) == 1:
        return None
    return float(spearmanr(l1_T, counts).statistic)


def neighbours(word: str, before_VD: Any, after_VD: Any, pairs_T2: np.ndarray, told: list[str], count: int) -> Row:
    """The tokens nearest to a word by cosine, before and after, and the share of the first that stayed."""
    import torch

    place = next((told.index(start + word) for start in STARTS if start + word in told), None)
    if place is None:
        return {"word": word, "token": None}
    lists = []
    for matrix_VD, rows in ((before_VD, pairs_T2[:, 0]), (after_VD, pairs_T2[:, 1])):
        matrix_TD = matrix_VD[torch.from_numpy(rows)].float()
        nearness_T = torch.nn.functional.normalize(matrix_TD, dim=1) @ torch.nn.functional.normalize(
            matrix_TD[place], dim=0
        )
        nearness_T[place] = -torch.inf  # its own
        nearest = nearness_T.topk(min(count, len(told) - 1))
        lists.append([{"token": told[i], "cosine": c} for c, i in zip(*(x.tolist() for x in nearest), strict=True)])
    tokens = [{near["token"] for near in mine} for mine in lists]
    kept = len(tokens[0] & tokens[1]) / len(tokens[0])
    return {"word": word, "token": told[place], "before": lists[0], "after": lists[1], "kept": kept}


if __name__ == "__main__":
    run_script(main)
