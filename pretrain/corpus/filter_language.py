"""Keep the documents that are in the recipe's language.

python pretrain/corpus/filter_language.py --config configs/tiny.yaml
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from pretrain.corpus.sieve import Judged, sift, tally, unfinished
from pretrain.corpus.workers import Workers, run_tasks
from snakmodel.config import knob, read_command, run_script
from snakmodel.documents import document_files, read_documents
from snakmodel.languages import LanguageChoice, Tell, judge_language, language_inputs, load_backend
from snakmodel.records import begin


@dataclass(kw_only=True)
class Settings(LanguageChoice, Workers):
    min_characters: int = knob(10, "shorter documents are dropped: too little to tell a language by", low=1)


def main() -> None:
    command = read_command(Settings, "filter_language", __doc__)
    settings, run = command.settings, command.run
    folder, raw = run.folder("filter_language"), run.folder("read_sources")
    work = begin(command, folder, {"raw": raw, **language_inputs(settings, "filter_language")})
    if work is None:
        return
    files = document_files(raw)
    parts = [folder / path.name for path in files]
    run_tasks(partial(filter_part, settings, files, folder), unfinished(parts), folder, settings, "filter")
    work.finish(counts=tally(parts), min_probability=settings.threshold())


def filter_part(settings: Settings, files: list[Path], folder: Path, number: int) -> None:
    """Filters one part of the corpus."""
    tell = load_backend(settings.backend, settings.languages, settings.model)
    measures = {"language": pa.string(), "language_probability": pa.float64()}
    sift(folder / files[number].name, judge(files[number], tell, settings), measures, {})


def judge(path: Path, tell: Tell, settings: Settings) -> Judged:
    """Each document with its language and the language's probability, and the reason to drop it or None."""
    for document in read_documents(path):
        language, probability, reason = judge_text(document["text"], tell, settings)
        yield {**document, "language": language, "language_probability": probability}, reason


def judge_text(text: str, tell: Tell, settings: Settings) -> tuple[str, float, str | None]:
    """The text's likeliest language, its probability, and the reason to drop the text or None."""
    language, probability, reason = judge_language(text, tell, settings)
    return language, probability, "too short" if len(text) < settings.min_characters else reason


if __name__ == "__main__":
    from pretrain.corpus.filter_language import main  # other processes import its functions by this name

    run_script(main)
