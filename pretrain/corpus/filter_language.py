"""Keep the documents that are in the recipe's language.

python pretrain/corpus/filter_language.py --config configs/tiny.yaml
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snakmodel.config import read_command, run_script
from snakmodel.records import begin
from snakmodel.settings import BadInput, knob, nearest

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier


@dataclass
class Settings:
    language: str = knob(help="language to keep, by its py3langid name: da, en, ...")
    # few and near: against all 140 languages of the model, short Danish texts are taken for rarer ones
    languages: list[str] = knob(
        ["da", "no", "nn", "sv", "en", "de", "nl", "is"], "languages to choose from, quoted: 'no' is a YAML false"
    )
    min_probability: float = knob(0.6, "documents must be above it", low=0, high=1)
    min_characters: int = knob(20, "shorter documents are dropped: too little to tell a language by", low=1)


def main() -> None:
    command = read_command(Settings, "filter_language", __doc__)
    settings, run = command.settings, command.run
    if settings.language not in settings.languages:
        raise BadInput(f"filter_language.language {settings.language!r} is not among languages {settings.languages}")
    folder = run.folder("filter_language")
    work = begin(command, folder, {"raw": run.folder("read_sources")})
    if work is None:
        return
    import pyarrow as pa  # late: a finished stage says so without Arrow and the model

    from pretrain.corpus.sieve import check_some_left, sift
    from snakmodel.documents import document_files, read_documents

    identifier = load_identifier(settings.languages)
    measures = {"language": pa.string(), "language_probability": pa.float64()}
    counts = {}
    for path in document_files(run.folder("read_sources")):
        judged = judge_documents(read_documents(path), identifier, settings)
        counts[path.stem] = sift(folder, path.stem, judged, measures)
    check_some_left(folder, counts)
    work.finish(counts=counts)


def load_identifier(languages: list[str]) -> "LanguageIdentifier":
    """py3langid restricted to these languages, answering with calibrated probabilities."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    for language in languages:
        if language not in identifier.labels:
            raise BadInput(f"py3langid knows no language {language!r}; {nearest(language, tuple(identifier.labels))}")
    identifier.set_languages(languages)
    return identifier


def judge_documents(
    documents: Iterable[dict[str, Any]], identifier: "LanguageIdentifier", settings: Settings
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Each document with its language and the language's probability, and the reason to drop it or None."""
    for document in documents:
        language, probability = identifier.classify(document["text"])
        measured = {**document, "language": language, "language_probability": probability}
        yield measured, reason_to_drop(len(document["text"]), language, probability, settings)


def reason_to_drop(characters: int, language: str, probability: float, settings: Settings) -> str | None:
    """None for a document to keep."""
    if characters < settings.min_characters:
        return "too short"
    if language != settings.language:
        return f"language {language}"
    return "low probability" if probability <= settings.min_probability else None


if __name__ == "__main__":
    run_script(main)
