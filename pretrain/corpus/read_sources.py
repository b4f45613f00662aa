"""Read the raw files of the recipe's sources, each in its own format, into documents.

python pretrain/corpus/read_sources.py --config configs/tiny.yaml
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pretrain.corpus.readers import Division, Reader, read_units
from snakmodel.config import load_yaml, read_command, run_script
from snakmodel.records import begin, missing
from snakmodel.settings import BadInput, knob, nearest, to_dataclass


@dataclass
class Source:
    """One raw corpus file, and where it is to be had."""

    path: str = knob(help="the raw file; {run_dir} and {base_run} may stand in a recipe")
    reader: Reader | None = knob(None, "its format; null: no reader for this format yet")
    unit: Division = knob("line", "gzip_text: a document is a line, or lines between empty ones")
    text_column: str = knob("text", "jsonl: the field that holds the text")
    address: str = knob("", "where it is to be had", execution=True)
    licence: str = knob("", "its licence", execution=True)
    access: str = knob("", "what has to be done to get it", execution=True)
    citation: str = knob("", "the publication to cite", execution=True)


@dataclass
class Settings:
    use: list[str] = knob(help="names of the sources to read")
    own: dict[str, Source] = knob({}, "sources described in the recipe itself; they win over the catalogue's")
    # the entries that are used count as settings themselves, so the catalogue may change elsewhere
    catalogue: str = knob("configs/sources.yaml", "YAML file: name -> source", execution=True)
    max_characters: int = knob(10_000_000, "longer documents are dropped", low=1)


def main() -> None:
    command = read_command(Settings, "read_sources", __doc__)
    sources = choose_sources(command.settings)
    command = replace(command, settings=replace(command.settings, own=sources))
    folder = command.run.folder("read_sources")
    work = begin(command, folder, {name: Path(source.path) for name, source in sources.items()})
    if work is None:
        return
    from pretrain.corpus.sieve import check_some_left, sift  # late: a finished stage says so without Arrow

    counts = {}
    for name, source in sources.items():
        counts[name] = sift(folder, name, read_source(name, source, command.settings.max_characters))
        check_some_left(folder, {name: counts[name]})
    work.finish(counts=counts, sources={name: asdict(source) for name, source in sources.items()})


def choose_sources(settings: Settings) -> dict[str, Source]:
    """The sources in use, by name; raises BadInput for names, formats and files that are not there."""
    if not settings.use:
        raise BadInput("read_sources.use names no source; give at least one")
    entries: dict[str, Any] = {}
    if not set(settings.use) <= set(settings.own):
        entries = load_yaml(Path(settings.catalogue))
    sources = {}
    for name in settings.use:
        if name in settings.own:
            source = settings.own[name]
        elif name in entries:
            source = to_dataclass(entries[name], Source, [settings.catalogue, name], {})
        else:
            raise BadInput(f"read_sources.use: no source {name!r}; {nearest(name, (*settings.own, *entries))}")
        check_source(name, source)
        sources[name] = source
    return sources


def check_source(name: str, source: Source) -> None:
    """Refuses a source that cannot be read, saying how to get what is missing."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise BadInput(f"read_sources: {name!r} becomes a file name; use letters, digits, - and _ only")
    if source.reader is None:
        raise BadInput(f"read_sources: {name}: there is no reader for this format yet ({source.path})")
    path = Path(source.path)
    if not path.is_file():
        ways = "; ".join(part for part in (source.address, source.access) if part)
        raise BadInput(missing(path) + (f"; source {name} is to be had from: {ways}" if ways else ""))


def read_source(name: str, source: Source, max_characters: int) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Every unit of a source as a document, with the reason to drop it or None. Ids count dropped units too."""
    assert source.reader is not None
    units = read_units(Path(source.path), source.reader, source.unit, source.text_column, max_characters)
    for index, (text, reason) in enumerate(units):
        yield {"text": text, "source": name, "id": f"{name}:{index:08d}"}, reason


if __name__ == "__main__":
    run_script(main)
