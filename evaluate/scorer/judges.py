"""Models that judge what a model has written: BERTScore's, and one that says whether a summary follows from its text.

Each is a folder, or ORG/NAME@REVISION; safetensors only. Shapes: B pairs of a batch, L labels.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from snakmodel.config import BadInput
from snakmodel.hub import refusal
from snakmodel.series import check_weights

PAIRS_AT_A_TIME = 16


class Judges(NamedTuple):
    """The models that are asked, if any."""

    bert: tuple[Path, int] | None = None  # folder, and how many of its layers are used
    entailment: tuple[Path, str] | None = None  # folder, and the label that stands for "follows"


def find_judges(bertscore: str | None, layers: int | None, entailment: str | None, label: str) -> Judges:
    """The folders of the models that a recipe names, each tried with one pair: before anything is written for them."""
    from bert_score.utils import model2layers

    bert = None
    if bertscore is not None:
        name = bertscore.partition("@")[0]
        if layers is None and name not in model2layers:
            raise BadInput(f"builtin.bertscore_layers: bert-score has no choice for {name}; say how many to use")
        bert = fetch(bertscore, "bertscore"), layers if layers is not None else model2layers[name]
        try_judge("bertscore", bert[0], lambda: bert_scores([["by"]], ["by"], *bert))
    follows = (fetch(entailment, "entailment"), label) if entailment is not None else None
    if follows is not None:
        try_judge("entailment", follows[0], lambda: entailment_scores(["by"], ["by"], *follows))
    return Judges(bert, follows)


def try_judge(knob: str, folder: Path, judge: Callable[[], list[float]]) -> None:
    """Refuses a model that cannot judge, whatever its library says of it."""
    try:
        check_weights(folder)
        judge()
    except BadInput as error:
        raise BadInput(f"builtin.{knob}: {error}") from None
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"builtin.{knob}: {folder} cannot judge ({reason})") from error


def fetch(location: str, knob: str) -> Path:
    """The folder of a model: a local one, or its copy in the Hub's cache, which is filled where it may be."""
    from huggingface_hub import snapshot_download

    if Path(location).is_dir():
        return Path(location)
    name, _, revision = location.partition("@")
    if not revision:
        raise BadInput(f"builtin.{knob}: {location!r} is no folder, and names no revision; give ORG/NAME@COMMIT")
    try:
        files = ["*.json", "*.txt", "*.model", "*.safetensors"]
        beneath = ["*/*"]  # other forms of the model; offline, none of them need be there
        return Path(snapshot_download(name, revision=revision, allow_patterns=files, ignore_patterns=beneath))
    except Exception as error:  # the library raises what its back-ends raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        told = refusal(location, error) or f"{location} cannot be had ({reason}); give a folder"
        raise BadInput(f"builtin.{knob}: {told}") from error


def bert_scores(answers: Sequence[list[str]], predicted: Sequence[str], folder: Path, layers: int) -> list[float]:
    """F1 of BERTScore (Zhang et al. 2020) of each text with the right one that comes nearest; an empty text gets 0."""
    scorer = load_bert(folder, layers)
    written = [number for number, text in enumerate(predicted) if text.strip()]
    scores = [0.0] * len(predicted)
    if written:
        _, _, found = scorer.score([predicted[number] for number in written], [answers[number] for number in written])
        for number, score in zip(written, found.tolist(), strict=True):
            scores[number] = score
    return scores


@torch.inference_mode()
def entailment_scores(texts: Sequence[str], predicted: Sequence[str], folder: Path, label: str) -> list[float]:
    """1 where the judge finds that what was written follows from its text, else 0; an empty one does not.

    The mean is the entailment score of Liu et al. (2024), NLEBench. Text and summary are read as a pair; where they are
    more than the judge can read, the end of the longer one goes.
    """
    model, tokenizer, wanted = load_judge(folder, label)
    limit = longest(model, tokenizer)
    scores = [0.0] * len(predicted)
    written = [number for number, text in enumerate(predicted) if text.strip()]
    for start in range(0, len(written), PAIRS_AT_A_TIME):
        rows = written[start : start + PAIRS_AT_A_TIME]
        pairs = [texts[row] for row in rows], [predicted[row] for row in rows]
        batch = tokenizer(*pairs, truncation="longest_first", max_length=limit, padding=True, return_tensors="pt")
        logits_BL = model(**batch.to(model.device)).logits
        for row, found in zip(rows, logits_BL.argmax(-1).tolist(), strict=True):
            scores[row] = float(found == wanted)
    return scores


@cache
def load_bert(folder: Path, layers: int) -> Any:
    """BERTScore's scorer."""
    from bert_score import BERTScorer

    scorer = BERTScorer(model_type=str(folder), num_layers=layers)
    # it cuts at what its tokenizer says, which of DeBERTa's is 10^30: too many for what cuts, and for the model
    scorer._tokenizer.model_max_length = longest(scorer._model, scorer._tokenizer)
    return scorer


def longest(model: Any, tokenizer: Any) -> int:
    """How many tokens an encoder can read."""
    reserved = 2 if "roberta" in model.config.model_type else 0  # positions that its padding takes
    return int(min(tokenizer.model_max_length, model.config.max_position_embeddings - reserved))


@cache
def load_judge(folder: Path, label: str) -> tuple[Any, Any, int]:
    """A classifier of pairs, its tokenizer, and the place of a label among its classes."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from snakmodel.models import load, load_whole

    model = load_whole(AutoModelForSequenceClassification, folder)
    names = {name.lower(): place for name, place in model.config.label2id.items()}
    if label.lower() not in names:
        have = ", ".join(sorted(names, key=names.__getitem__))
        raise BadInput(f"{folder} has no label {label!r}, only {have}; set entailment_label")
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), load(AutoTokenizer, folder), names[label.lower()]
