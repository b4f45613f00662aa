"""Keep the documents that are in the recipe's language.

python pretrain/corpus/filter_language.py --config configs/tiny.yaml
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from pretrain.corpus.sieve import Judged, sift
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.documents import document_files, read_documents
from snakmodel.records import begin


@dataclass
class Settings:
    language: str = knob(help="language to keep, by its py3langid name: da, en, ...")
    # few and near: against all 140 languages of the model, short Danish texts are taken for rarer ones
    languages: list[str] = knob(["da", "no", "nn", "sv", "en", "de", "nl", "is"], "to choose from; quote 'no' for YAML")
    min_probability: float = knob(0.6, "documents must be above it", low=0, high=1)
    min_characters: int = knob(20, "shorter documents are dropped: too little to tell a language by", low=1)


def main() -> None:
    command = read_command(Settings, "filter_language", __doc__)
    settings, run = command.settings, command.run
    if settings.language not in settings.languages:
        raise BadInput(f"filter_language.language {settings.language!r} is not among languages {settings.languages}")
    folder, raw = run.folder("filter_language"), run.folder("read_sources")
    work = begin(command, folder, {"raw": raw})
    if work is None:
        return
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(settings.languages)
    measures = {"language": pa.string(), "language_probability": pa.float64()}
    files = document_files(raw)
    counts = {path.stem: sift(folder / path.name, judge(path, identifier, settings), measures, {}) for path in files}
    work.finish(counts=counts)


def judge(path: Path, identifier: LanguageIdentifier, settings: Settings) -> Judged:
    """Each document with its language and the language's probability, and the reason to drop it or None."""
    for document in read_documents(path):
        language, probability = identifier.classify(document["text"])
        reason = None
        if len(document["text"]) < settings.min_characters:
            reason = "too short"
        elif language != settings.language:
            reason = f"language {language}"
        elif probability <= settings.min_probability:
            reason = "low probability"
        yield {**document, "language": language, "language_probability": probability}, reason


if __name__ == "__main__":
    run_script(main)
