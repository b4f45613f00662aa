"""Back-ends that tell a text's language. Each loads its model and returns a function text -> {language: probability}.

py3langid: naive Bayes over byte n-grams, among given languages (Lui and Baldwin 2012, aclanthology.org/P12-3005).
py3langid+cld2: the same, with CLD2's answer as a second witness; measured best (benchmarks/language_filter.py).
fasttext: a supervised fastText model such as lid.176, among all its own languages (Joulin et al. 2017,
aclanthology.org/E17-2068); gives the likeliest only.
"""

import copy
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Literal

import fasttext
import numpy as np
import pycld2
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from snakmodel.config import BadInput, knob

Backend = Literal["py3langid+cld2", "py3langid", "fasttext"]
Tell = Callable[[str], dict[str, float]]

# what a document's probability must be above, by default: their scales differ; fastText's is SnakModel's
MIN_PROBABILITY: dict[Backend, float] = {"py3langid+cld2": 0.95, "py3langid": 0.6, "fasttext": 0.6}
CLD2_FACTOR = 64  # how many times likelier CLD2's answer makes a language; 8 to 1,000 measured alike
ADDRESS = re.compile(r"(?<!\S)\S*(?:://|www\.|@)\S*")  # of the web or e-mail: its words are of any language
LABEL = "__label__"
LID_176 = "https://dl.fbaipublicfiles.com/fasttext/supervised-models/lid.176.bin"
LID_BYTES, LID_SHA256 = 131_266_198, "7e69ec5451bc261cc7844e49e4792a85d7f09c06789ec800fc4a44aec362764e"


@dataclass(kw_only=True)
class LanguageChoice:
    """Which texts are in the language, and who says so."""

    language: str = knob(help="language to keep, by its back-end's name: da, en, ...; Bokmaal is 'no'")
    backend: Backend = knob("py3langid+cld2", "who tells the language: py3langid+cld2, py3langid or fasttext")
    model: str | None = knob(None, "file of the fasttext back-end's model, such as lid.176.bin")
    # few and near: against all 142 languages of py3langid, short Danish texts are taken for rarer ones
    languages: list[str] = knob(
        ["da", "no", "nn", "sv", "en", "de", "nl", "is"],
        "to choose from; fasttext knows more and uses them all; quote 'no' for YAML",
    )
    min_probability: float | None = knob(
        None, "texts must be above it; by default 0.95 for py3langid+cld2, 0.6 for the others", low=0, high=1
    )

    def threshold(self) -> float:
        """The probability that a text must be above."""
        return MIN_PROBABILITY[self.backend] if self.min_probability is None else self.min_probability


def language_inputs(choice: LanguageChoice, label: str) -> dict[str, str | Path]:
    """The back-end's model as an input of records.begin; BadInput where the choice cannot be made."""
    if choice.language not in choice.languages:
        raise BadInput(f"{label}.language {choice.language!r} is not among languages {choice.languages}")
    return {"model": find_model(choice.model)} if choice.backend == "fasttext" else {}


def judge_language(text: str, tell: Tell, choice: LanguageChoice) -> tuple[str, float, str | None]:
    """The text's likeliest language, its probability, and the reason to drop the text or None."""
    language, probability = max(tell(text).items(), key=itemgetter(1))
    reason = None
    if language != choice.language:
        reason = f"language {language}"
    elif probability <= choice.threshold():
        reason = "low probability"
    return language, probability, reason


def load_backend(backend: Backend, languages: list[str], model: str | Path | None) -> Tell:
    """The function text -> {language: probability}; `model` is the fastText back-end's file."""
    match backend:
        case "py3langid+cld2":
            return load_py3langid_and_cld2(languages)
        case "py3langid":
            return load_py3langid(languages)
        case "fasttext":
            return load_fasttext(languages, model)


def load_py3langid(languages: list[str]) -> Tell:
    """py3langid among `languages`, with probabilities that it flattens for longer texts."""
    identifier = among(languages, LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True))
    return lambda text: dict(identifier.rank(text))


def load_py3langid_and_cld2(languages: list[str]) -> Tell:
    """Bayes' rule on two witnesses: py3langid's likelihood of the text, and which language CLD2 names.

    A language that CLD2 names is a candidate too, so that a text in none of `languages` need not pass for one of them.
    """
    every_language = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier = among(languages, every_language)

    def tell(text: str) -> dict[str, float]:
        text = ADDRESS.sub(" ", text)
        scores = dict(identifier.rank(text))  # log-probabilities, not normalised
        named = name_by_cld2(text)
        if named not in scores and named in every_language.nb_classes:
            scores[named] = dict(every_language.rank(text))[named]
        if named in scores:
            scores[named] += math.log(CLD2_FACTOR)
        highest = max(scores.values())
        likelihoods = {language: math.exp(score - highest) for language, score in scores.items()}
        total = sum(likelihoods.values())
        return {language: likelihood / total for language, likelihood in likelihoods.items()}

    return tell


def among(languages: list[str], identifier: LanguageIdentifier) -> LanguageIdentifier:
    """A copy of `identifier` that knows only `languages`, which must be of those that it has a model of."""
    check_known(languages, identifier.labels)
    narrow = copy.copy(identifier)
    narrow.set_languages(languages)
    narrow.nb_ptc = np.ascontiguousarray(narrow.nb_ptc)  # as the library leaves it, every look-up is a cache miss
    return narrow


def name_by_cld2(text: str) -> str:
    """CLD2's code for the text's language; "un" where it has no answer."""
    try:
        _, _, details = pycld2.detect(text, isPlainText=True, bestEffort=True)
        return details[0][1]
    except pycld2.error:  # it refuses some control characters as invalid UTF-8
        return "un"


def load_fasttext(languages: list[str], model: str | Path | None) -> Tell:
    """fastText's likeliest language and its probability, as SnakModel used lid.176."""
    classifier = fasttext.load_model(str(find_model(model)))
    check_known(languages, [label.removeprefix(LABEL) for label in classifier.labels])

    def tell(text: str) -> dict[str, float]:
        labels, probabilities = classifier.predict([" ".join(text.split())])  # it takes one line
        return {labels[0][0].removeprefix(LABEL): min(1.0, float(probabilities[0][0]))}

    return tell


def find_model(model: str | Path | None) -> Path:
    """The fastText model's file; BadInput where it is not."""
    if model is None or not Path(model).is_file():
        known = f"lid.176.bin is at {LID_176} ({LID_BYTES:,} bytes, SHA-256 {LID_SHA256})"
        raise BadInput(f"language model: {model or 'no file named'}: not found; {known}; or: make prefetch")
    return Path(model)


def check_known(languages: list[str], known: list[str]) -> None:
    """Refuses languages that the back-end has no model of."""
    if unknown := sorted(set(languages) - set(known)):
        raise BadInput(f"languages not known: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
