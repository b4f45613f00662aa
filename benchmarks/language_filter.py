"""What the language filter keeps of sentences and of 60-word documents, and its speed, for every back-end in one run.

python benchmarks/language_filter.py FOLDER [MODEL] [keep=da]

FOLDER holds ud_da.txt.gz, ud_nb.txt.gz, ud_sv.txt.gz and ud_en.txt.gz with a sentence a line, or others named so;
MODEL is lid.176.bin. Kept as Danish (keep=no: as Norwegian), at the default settings: share of each language's texts in
per cent, and its standard error. Halves are the even and the odd ones: nothing may hang on one of them.
"""

import gzip
import sys
import time
from pathlib import Path
from typing import get_args

from pretrain.corpus.filter_language import Settings, judge_text
from snakmodel.languages import Backend, load_backend

WORDS_PER_SENTENCE, WORDS_PER_DOCUMENT = 4, 60  # at least; exactly


def main() -> None:
    folder, *model = (word for word in sys.argv[1:] if not word.startswith("keep="))
    language = next((word.removeprefix("keep=") for word in sys.argv if word.startswith("keep=")), "da")
    languages = list(dict.fromkeys([*Settings(language=language).languages, language]))
    files = {path.name[3:].partition(".")[0]: path for path in sorted(Path(folder).glob("ud_*.txt.gz"))}
    sentences = {name: read_sentences(path) for name, path in files.items()}
    documents = {name: join(lines) for name, lines in sentences.items()}
    texts = {
        "sentences": {k: [line for line in v if len(line.split()) >= WORDS_PER_SENTENCE] for k, v in sentences.items()},
        "documents": documents,
    }
    columns = "".join(f"{name:>13}" for name in files)
    print(f"{'':24}{columns}     even, odd da    even, odd nb   texts/CPU s")
    for backend in get_args(Backend):
        if backend != "fasttext" or model:
            settings = Settings(
                language=language, languages=languages, backend=backend, model=model[0] if model else None
            )
            for kind, samples in texts.items():
                print(f"{backend:15}{kind:9}{measure(settings, samples)}", flush=True)


def read_sentences(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [line.strip() for line in file]


def join(lines: list[str]) -> list[str]:
    """Consecutive sentences as documents of WORDS_PER_DOCUMENT words; what is left over at the end is not used."""
    words = " ".join(lines).split()
    whole = len(words) - len(words) % WORDS_PER_DOCUMENT
    return [" ".join(words[at : at + WORDS_PER_DOCUMENT]) for at in range(0, whole, WORDS_PER_DOCUMENT)]


def measure(settings: Settings, samples: dict[str, list[str]]) -> str:
    """A row of the table."""
    tell = load_backend(settings.backend, settings.languages, settings.model)
    started = time.process_time()
    kept = {
        language: [judge_text(text, tell, settings)[2] is None for text in texts] for language, texts in samples.items()
    }
    speed = sum(map(len, kept.values())) / (time.process_time() - started)
    halves = [f"{percent(kept[language][::2]):6.2f} {percent(kept[language][1::2]):6.2f}" for language in ("da", "nb")]
    shares = "".join(f"{percent(flags):8.2f} ±{standard_error(flags):3.2f}" for flags in kept.values())
    return f"{shares}   {'   '.join(halves)}{speed:14,.0f}"


def percent(flags: list[bool]) -> float:
    return 100 * sum(flags) / len(flags)


def standard_error(flags: list[bool]) -> float:
    """Of a share, in percentage points."""
    share = sum(flags) / len(flags)
    return float(100 * (share * (1 - share) / len(flags)) ** 0.5)


if __name__ == "__main__":
    main()
