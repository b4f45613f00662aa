"""Read the raw files of the recipe's sources, each in the format that its makers publish it in, into documents.

python pretrain/corpus/read_sources.py --config configs/tiny.yaml
"""

from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple

from pretrain.corpus.archives import Limits
from pretrain.corpus.readers import DAMAGE, NOT_TEXT, read_units
from pretrain.corpus.sieve import Judged, counts_path, is_finished, part_name, part_pattern, sift, stems_of, tally
from pretrain.corpus.sources import Source, find_source, raw_files
from pretrain.corpus.workers import RefusedInput, Workers, run_tasks
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.records import begin, identity, read_json, write_json, write_text


@dataclass(kw_only=True)
class Settings(Workers, Limits):
    use: list[str] = knob(help="names of the sources to read")
    own: dict[str, Source] = knob({}, "sources described in the recipe itself; they win over the catalogue's")
    # the entries that are used count as settings themselves, so the catalogue may change elsewhere
    documents_per_part: int = knob(500_000, "units of a source in a file: what one task works on", low=1)
    catalogue: str = knob("configs/sources.yaml", "YAML file: name -> source", execution=True)


class RawPart(NamedTuple):
    """One file of a source."""

    name: str  # of the source
    stem: str  # how its parts and ids begin
    path: Path
    source: Source

    @property
    def input(self) -> str:
        """What it is called in the stage's record."""
        return str(Path(self.name, self.path.relative_to(self.source.path)))


def main() -> None:
    command = read_command(Settings, "read_sources", __doc__)
    settings = command.settings
    sources = {name: find_source(name, settings.own, settings.catalogue, "read_sources.use") for name in settings.use}
    files = [file for name, source in sources.items() for file in files_of(name, source)]
    inputs: dict[str, str | Path] = {file.input: file.path for file in files}
    command = replace(command, settings=replace(settings, own=sources))
    folder = command.run.folder("read_sources")
    if not command.check:
        admit_replaced(folder, inputs)
    work = begin(command, folder, inputs)
    if work is None:
        return
    refusals = []
    try:
        run_tasks(partial(read_parts, files, settings, folder), list(range(len(files))), folder, settings, "read")
    except RefusedInput as error:
        refusals.append(str(error))
    refused = [file for file in files if mark_of(folder, file).is_file()]
    counts = tally(path for file in files if file not in refused for path in parts_of(folder, file))
    for name in sources:
        if name not in (file.name for file in refused) and not counts[name]["kept"]:
            where = f"reasons lie in {folder / 'rejects'}; is it {name}'s format?"
            refusals.append(f"{sources[name].path}: no document kept; {where}")
            for file in files:
                if file.name == name:
                    write_text(mark_of(folder, file), file.input)
    if refusals:
        raise BadInput("; ".join(refusals))
    work.finish(counts=counts)


def files_of(name: str, source: Source) -> list[RawPart]:
    """A source's files, in the order of their names."""
    paths = raw_files(source)
    return [RawPart(name, stem, path, source) for stem, path in zip(stems_of(name, len(paths)), paths, strict=True)]


def parts_of(folder: Path, file: RawPart) -> list[Path]:
    """What has been read of a raw file."""
    return sorted(folder.glob(part_pattern(file.stem)))


def mark_of(folder: Path, file: RawPart) -> Path:
    """Says that a raw file was refused: what was read of it does not count, and another may take its place."""
    return folder / "refused" / f"{file.stem}.txt"


def admit_replaced(folder: Path, inputs: dict[str, str | Path]) -> None:
    """Notes which file now lies where one was refused; that of any other file that changes begin() would complain."""
    marks = [path.read_text(encoding="utf-8") for path in (folder / "refused").glob("*.txt")]
    if marks and (folder / "started.json").is_file():
        started = read_json(folder / "started.json")
        for name in started["inputs"].keys() & inputs.keys() & set(marks):
            started["inputs"][name]["hash"] = identity(inputs[name])
        write_json(folder / "started.json", started)


def read_parts(files: list[RawPart], settings: Settings, folder: Path, number: int) -> None:
    """Reads one raw file, so many units at a time; what was finished before is read over, and not written again."""
    file, mark = files[number], mark_of(folder, files[number])
    if mark.is_file():
        for path in parts_of(folder, file):
            for made in (counts_path(path), folder / "rejects" / path.name, path):
                made.unlink(missing_ok=True)
        mark.unlink()
    units = iter(read_file(file, settings))
    try:
        for part in count():
            first = next(units, None)
            if first is None:
                if part == 0:
                    raise BadInput(f"{file.path}: empty; is it {file.name}'s file?")
                return
            path = folder / part_name(file.stem, part)
            rest = islice(units, settings.documents_per_part - 1)
            if is_finished(path):
                deque(rest, maxlen=0)
            else:
                sift(path, chain([first], rest), {}, {})
    except BadInput:
        write_text(mark, file.input)
        raise


def read_file(file: RawPart, limits: Limits) -> Judged:
    """Every unit of a raw file as a document, with the reason to drop it or None; ids count dropped units too."""
    units = 0
    try:
        for text, reason in read_units(file.path, file.source, limits):
            text = text.strip()
            if reason is None and (not text or NOT_TEXT.search(text)):
                reason = "not UTF-8 text" if text else "empty"
            text = NOT_TEXT.sub("\ufffd", text) if reason else text
            yield {"text": text, "source": file.name, "id": f"{file.stem}:{units:08d}"}, reason
            units += 1
    except BadInput as error:
        raise BadInput(f"{file.path}: refused after {units:,} units: {error}") from None
    except DAMAGE as error:
        fault = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        what = f"cut short, damaged, or not a {file.source.reader} file"
        raise BadInput(f"{file.path}: {what}; refused after {units:,} units: {fault}") from None


if __name__ == "__main__":
    from pretrain.corpus.read_sources import main  # other processes import its functions by this name

    run_script(main)
