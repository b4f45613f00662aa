"""What a raw corpus is: its description in configs/sources.yaml or a recipe, and the files of it that are there."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from snakmodel.config import BadInput, knob, load_yaml, to_dataclass
from snakmodel.settings import nearest

Reader = Literal["gzip_text", "wikipedia", "jsonl", "convokit", "gigaword", "tar_text", "twitter", "parquet", "hub"]


@dataclass
class RawFile:
    """One file on a web server. What is null is not known; download.py records what came the first time."""

    url: str = knob(help="its address, http or https")
    sha256: str | None = knob(None, "hexadecimal checksum")
    md5: str | None = knob(None, "hexadecimal checksum, where its makers publish no better one")
    bytes: int | None = knob(None, "its size", low=0)

    @property
    def name(self) -> str:
        return unquote(urlsplit(self.url).path).rpartition("/")[2]


@dataclass
class HubSet:
    """A data set on the Hugging Face Hub, or a local folder that `datasets` can load."""

    id: str = knob(help="OWNER/NAME, or a folder")
    revision: str | None = knob(None, "commit; null: the newest when download.py first runs, which records it")
    configuration: str | None = knob(None, "its configuration (subset); null: its default")
    split: str = knob("train", "its split")


@dataclass
class Source:
    """A raw corpus, and where it is to be had. With neither `files` nor `hub` it has to be put at `path` by hand."""

    path: str = knob(help="raw file, or folder of several; hub: the file that pins its revision. May hold {run_dir}")
    reader: Reader = knob(help="its format")
    unit: Literal["document", "line", "block"] | None = knob(
        None,
        "what becomes a document: each document of its own; each line, as in the paper; lines between empty ones. "
        "gzip_text and tar_text must say it (document: a whole file), the others know documents",
    )
    text_column: str = knob("text", "jsonl, parquet, hub: the field that holds the text")
    member: str = knob("", "tar_text: the file in the archive that holds the text")
    language: str = knob("", "twitter: what Twitter says to be in another language is dropped; empty: nothing is")
    files: list[RawFile] = knob([], "where download.py gets it", execution=True)
    hub: HubSet | None = knob(None, "the data set that is streamed when it is read", execution=True)
    page: str = knob("", "the page that describes it", execution=True)
    access: str = knob("", "what has to be done to get it", execution=True)
    licence: str = knob("", "its licence", execution=True)
    redistribution: Literal["yes", "no", "unknown"] = knob("unknown", "may it be passed on?", execution=True)
    citation: str = knob("", "the publication to cite", execution=True)

    @property
    def request(self) -> str:
        """The page and what to do there; empty where neither is known."""
        return ": ".join(filter(None, [self.page, self.access]))


def find_source(name: str, own: dict[str, Source], catalogue: str, where: str) -> Source:
    """A source's description: the recipe's own, or else the catalogue's. `where` is the setting that names it."""
    if not re.fullmatch(r"[a-z0-9_]+", name) or name in ("parts", "tasks"):
        raise BadInput(f"{where}: {name!r} cannot name files; use small letters, digits and _")
    if name in own:
        source = own[name]
    else:
        entries = load_yaml(Path(catalogue))
        if name not in entries:
            raise BadInput(f"{where}: no source {name!r}; {nearest(name, (*own, *entries))}")
        source = to_dataclass(entries[name], Source, [catalogue, name], {})
    if (source.reader == "hub") != (source.hub is not None):
        raise BadInput(f"{where}: {name}: reader hub and the key hub go together; give both or neither")
    if source.hub and source.files:
        raise BadInput(f"{where}: {name}: hub and files are two ways to get it; give one of them")
    if source.reader in ("gzip_text", "tar_text") and source.unit is None:
        raise BadInput(f"{where}: {name}: what is a document of it? Say `unit: line`, `block` or `document` (a file)")
    for file in source.files:
        if urlsplit(file.url).scheme not in ("http", "https") or file.name in ("", ".", ".."):
            raise BadInput(f"{where}: {name}: {file.url!r} is no http(s) address of a file")
    return source


def destinations(source: Source) -> list[Path]:
    """Where the source's listed files belong: the path itself, or that folder where they are several."""
    path = Path(source.path)
    return [path] if len(source.files) == 1 else [path / file.name for file in source.files]


def part_of(path: Path) -> Path:
    """The file that grows while `path` is fetched."""
    return path.with_name(f"{path.name}.part")


def state_of(path: Path, suffix: str) -> Path:
    """What is known about `path`, hidden beside it: its record (.json), its half (.part.json), its lock (.lock)."""
    return path.parent / ".download" / f"{path.name}{suffix}"


def files_there(source: Source) -> list[Path]:
    """The file, or the folder's files in the order of their names; hidden ones and half-fetched ones do not count."""
    path = Path(source.path)
    if path.is_file():
        return [path]
    found = (p for p in path.rglob("*") if p.is_file() and p.suffix != ".part")
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(path).parts))


def raw_files(source: Source) -> list[Path]:
    """The files to read, all of them; raises BadInput with what has to be done where one is not there."""
    there = files_there(source)
    missing = [path for path in destinations(source) if path not in there]
    if missing or not there:
        raise BadInput(how_to_get(source, missing[0] if missing else Path(source.path)))
    return there


def how_to_get(source: Source, path: Path) -> str:
    """One line: what is not there, and what has to be done about it."""
    if source.files or source.hub:
        return f"{path} not found: run pretrain/corpus/download.py first"
    cure = f"; it cannot be fetched. {source.request}. Then put it there" if source.request else ""
    return f"{path} not found{cure}"
