"""Keep the documents that are worth learning from, and replace personal data in them.

python pretrain/corpus/filter_quality.py --config configs/tiny.yaml

First the heuristics, whose measures become columns; a reject's reason is the setting that it breaks. Then personal data
give way to markers. Then, where a trained classifier is named, its two scores, as columns and against thresholds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pretrain.corpus.heuristics import Heuristics, broken_rule, measure_text, rules_of
from pretrain.corpus.personal_data import KINDS, Forms, Replacer, read_forms
from pretrain.corpus.quality_model import SCORES, load_scorer
from pretrain.corpus.sieve import Judged, folder_before, measures_of, sift, source_of, tally, unfinished
from pretrain.corpus.workers import Workers, run_tasks
from snakmodel.config import BadInput, knob, load_yaml, read_command, run_script
from snakmodel.documents import batches, document_files, read_documents
from snakmodel.records import begin
from snakmodel.settings import nearest

DOCUMENTS_AT_A_TIME = 1_000


@dataclass(kw_only=True)
class Settings(Workers, Heuristics):
    reads: str = knob("filter_language", "the step whose documents it reads")
    language: str = knob(help="of the documents: whose stop words and forms of personal data to look for")
    heuristics: bool = knob(True, "whether to drop what breaks a rule: min_words and all the others")
    stop_words: list[str] = knob([], "different from the catalogue's")
    personal_data: bool = knob(True, "whether to replace personal data by markers")
    forms: Forms | None = knob(None, "of personal data, different from the catalogue's")
    classifier: str | None = knob(None, "folder of a trained classifier; null: none")
    min_educational: float | None = knob(None, "least educational value by the classifier, 0 to 5; null: no bar")
    min_linguistic: float | None = knob(None, "least linguistic quality by the classifier, 0 to 5; null: no bar")
    # the entries that are used count as settings themselves, so the catalogues may change elsewhere
    languages: str = knob("configs/languages.yaml", "YAML file: stop_words, language -> words", execution=True)
    all_forms: str = knob("configs/personal_data.yaml", "YAML file: language -> forms", execution=True)


def main() -> None:
    command = read_command(Settings, "filter_quality", __doc__)
    settings, run = with_language_data(command.settings), command.run
    folder, corpus = run.folder("filter_quality"), folder_before(run, "filter_quality", settings.reads)
    inputs: dict[str, str | Path] = {"corpus": corpus}
    if settings.classifier is not None:
        inputs["classifier"] = Path(settings.classifier)
    elif (settings.min_educational, settings.min_linguistic) != (None, None):
        raise BadInput("filter_quality: min_educational and min_linguistic need a classifier; name its folder")
    work = begin(replace(command, settings=settings), folder, inputs)
    if work is None:
        return
    files = document_files(corpus)
    parts = [folder / path.name for path in files]
    run_tasks(partial(filter_part, settings, files, folder), unfinished(parts), folder, settings, "filter")
    counts = tally(parts)
    if settings.personal_data:
        work.finish(counts=counts, replaced=tally_replaced(parts))
    else:
        work.finish(counts=counts)


def with_language_data(s: Settings) -> Settings:
    """The settings with the language's stop words and forms of personal data, each where it is needed and not given."""
    if s.heuristics and s.min_stop_words and not s.stop_words:
        catalogue = load_yaml(Path(s.languages)).get("stop_words", {})
        if s.language not in catalogue:
            near = nearest(s.language, tuple(catalogue))
            raise BadInput(f"{s.languages}: no stop_words of {s.language!r}; {near}; or set min_stop_words to null")
        s = replace(s, stop_words=catalogue[s.language])
    if s.personal_data and s.forms is None:
        s = replace(s, forms=read_forms(Path(s.all_forms), s.language))
    return s


def filter_part(settings: Settings, files: list[Path], folder: Path, number: int) -> None:
    """Filters one part of the corpus."""
    path = files[number]
    measures = measures_of(path)
    if settings.heuristics:
        measures |= {measure: pa.float32() for _, measure, _ in rules_of(settings)}
    if settings.personal_data:
        measures |= {f"replaced_{kind}": pa.int32() for kind in KINDS}
    if settings.classifier is not None:
        measures |= {score: pa.float32() for score in SCORES}
    sift(folder / path.name, judge(path, settings), measures, {})


def judge(path: Path, s: Settings) -> Judged:
    """Each document with its measures and without personal data, and the reason to drop it or None."""
    if s.classifier is None:
        yield from clean(path, s)
        return
    score = load_scorer(Path(s.classifier))
    for batch in batches(({**document, "reason": reason} for document, reason in clean(path, s)), DOCUMENTS_AT_A_TIME):
        good = [document for document in batch if document["reason"] is None]
        scores_NK = score([document["text"] for document in good])
        for document, row_K in zip(good, scores_NK, strict=True):
            document |= dict(zip(SCORES, map(float, row_K), strict=True))
        yield from ((document, document.pop("reason") or broken_threshold(document, s)) for document in batch)


def clean(path: Path, s: Settings) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Each document with its measures, and without personal data where no rule drops it, with the rule or None."""
    stop_words, rules = frozenset(s.stop_words), rules_of(s)
    replacer = Replacer(s.forms) if s.personal_data and s.forms is not None else None
    for document in read_documents(path):
        reason = None
        if s.heuristics:
            document |= measure_text(document["text"], stop_words, s)
            reason = broken_rule(document, rules)
        if reason is None and replacer is not None:
            document["text"], counts = replacer.replace(document["text"])
            document |= {f"replaced_{kind}": count for kind, count in counts.items()}
        yield document, reason


def broken_threshold(document: dict[str, Any], s: Settings) -> str | None:
    """The name of the threshold that a document's scores are below, or None."""
    for score in SCORES:
        least = getattr(s, f"min_{score}")
        if least is not None and document[score] < least:
            return f"min_{score}"
    return None


def tally_replaced(paths: list[Path]) -> dict[str, dict[str, int]]:
    """Sums what was replaced in the documents that stay, by source and kind; prints and returns it."""
    totals: dict[str, dict[str, int]] = {}
    for path in paths:
        total = totals.setdefault(source_of(path), dict.fromkeys(KINDS, 0))
        table = pq.read_table(path, columns=[f"replaced_{kind}" for kind in KINDS])
        for kind in KINDS:
            total[kind] += pc.sum(table[f"replaced_{kind}"]).as_py() or 0
    for source, total in totals.items():
        print(f"{source}: replaced " + ", ".join(f"{number:,} {kind}" for kind, number in total.items()), flush=True)
    return totals


if __name__ == "__main__":
    from pretrain.corpus.filter_quality import main  # other processes import its functions by this name

    run_script(main)
