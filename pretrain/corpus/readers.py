"""From a raw corpus file, as its makers publish it, to units of text: one generator a format, all of them streaming.

A unit is a text and the reason for dropping it, or None. Every unit of the file is yielded, dropped ones too, so a
unit's position is its index in the source. Memory is bounded whatever a file holds: nothing is extracted to disk,
sizes that a file claims are not believed, and what is too long is skipped as it streams past.
"""

import bz2
import errno
import gzip
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import IO, Literal
from xml.etree.ElementTree import ParseError

import mwparserfromhell
import mwxml
from mwparserfromhell.parser import ParserError
from mwxml.errors import MalformedXML

from snakmodel.settings import BadInput

Reader = Literal["gzip_text", "wikipedia", "jsonl", "convokit"]
Division = Literal["line", "block"]
Unit = tuple[str, str | None]
ByteStream = IO[bytes] | BufferedIOBase  # zipfile's members are of the first kind, the others' of the second

LONGEST_LINE = 1 << 26  # bytes of a line, and of XML between two pages
EXCERPT = 1_000  # characters kept of a unit that a reader drops
DELETED = ("[deleted]", "[removed]", "removed")  # what Reddit leaves of a deleted post; the last as in SnakModel's list
SHORTEST_POST = 3  # characters, as in SnakModel's script for this source
ALWAYS_HIDDEN = {"file", "image", "category"}  # English names of namespaces work on every wiki
INVISIBLE_TAGS = {"ref", "references", "table", "gallery", "math", "timeline", "syntaxhighlight", "source"}


def read_units(path: Path, reader: Reader, division: Division, text_column: str, max_characters: int) -> Iterator[Unit]:
    """The units of one raw file. A file that is damaged as a whole raises BadInput, a single bad record is dropped.

    division: what a document is in gzip_text, a line or a block of lines between empty ones (as in CC-100).
    text_column: of a jsonl record. max_characters: longer units are dropped.
    """
    try:
        for text, reason in open_reader(path, reader, division, text_column):
            yield (excerpt(text), reason) if reason else check_text(text.strip(), max_characters)
    except EOFError:
        raise BadInput(f"{path}: cut short: the compressed data ends too early; fetch the file again") from None
    except (zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # the disk's fault, not the file's; EINVAL: a zip that points before its beginning
        raise BadInput(f"{path}: damaged, or not a {reader} file: {error}") from None


def open_reader(path: Path, reader: Reader, division: Division, text_column: str) -> Iterator[Unit]:
    """The generator of this format."""
    match reader:
        case "gzip_text":
            return gzip_text(path, division)
        case "wikipedia":
            return wikipedia(path)
        case "jsonl":
            return jsonl(path, text_column)
        case "convokit":
            return convokit(path)


def check_text(text: str, max_characters: int) -> Unit:
    """What no document of any format may be: empty, too long, or characters that Parquet or a trainer chokes on."""
    if not text:
        return text, "empty"
    if len(text) > max_characters:
        return excerpt(text), "too long"
    if "\0" in text:
        return excerpt(text), "NUL character"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell
        return excerpt(text), "not UTF-8"
    return text, None


def excerpt(text: str) -> str:
    """The beginning of a dropped text, as valid UTF-8."""
    return text[:EXCERPT].encode("utf-8", "replace").decode("utf-8")


def gzip_text(path: Path, division: Division) -> Iterator[Unit]:
    """Plain text, .gz or .xz: a document is a line, or a block of lines between empty ones."""
    with lzma.open(path) if path.suffix == ".xz" else gzip.open(path) as file:
        yield from read_lines(file) if division == "line" else join_blocks(read_lines(file))


def jsonl(path: Path, text_column: str) -> Iterator[Unit]:
    """One JSON object a line, plain or .gz."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield from read_records(file, text_column)


def convokit(path: Path) -> Iterator[Unit]:
    """A ConvoKit corpus: the member utterances.jsonl of a zip file."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if PurePosixPath(name).name == "utterances.jsonl"]
        if len(names) != 1:
            raise BadInput(f"{path}: should hold one utterances.jsonl, got {len(names)}; is it a ConvoKit corpus?")
        with archive.open(names[0]) as member:
            for text, reason in read_records(member, "text"):
                if reason is None and text.strip() in DELETED:
                    reason = "deleted"
                elif reason is None and len(text.strip()) < SHORTEST_POST:
                    reason = "too short"
                yield text, reason


def wikipedia(path: Path) -> Iterator[Unit]:
    """A MediaWiki export (.xml.bz2): an article's latest text without its markup."""
    for page, wikitext, hidden in read_pages(path):
        if page.namespace != 0:
            yield wikitext, "not an article"
        elif page.redirect is not None:
            yield wikitext, "redirect"
        else:
            yield strip_markup(wikitext, hidden)


def read_pages(path: Path) -> Iterator[tuple[mwxml.Page, str, set[str]]]:
    """Each page, its latest wikitext, and the lower-case names of the namespaces whose links show no words."""
    try:
        with bz2.open(path) as file:
            source = BoundedFile(file)
            dump = mwxml.Dump.from_file(source)
            hidden = ALWAYS_HIDDEN | {n.name.lower() for n in dump.site_info.namespaces or [] if n.id and n.name}
            for page in dump.pages:
                wikitext = ""
                for revision in page:
                    wikitext = revision.text or ""
                source.allowance = LONGEST_LINE
                yield page, wikitext, hidden
    except (ParseError, MalformedXML, AssertionError, TypeError, ValueError) as error:  # what mwxml makes of bad XML
        raise BadInput(f"{path}: not a whole MediaWiki export: {str(error)[:80] or type(error).__name__}") from None


class BoundedFile:
    """A file for the XML parser that refuses to be read further than `allowance` bytes; each page renews it."""

    def __init__(self, file: ByteStream) -> None:
        self.file = file
        self.allowance = LONGEST_LINE

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(min(size, self.allowance) if size >= 0 else self.allowance)
        self.allowance -= len(data)
        if self.allowance <= 0:
            raise ParseError(f"a page is longer than {LONGEST_LINE:,} bytes")
        return data


def strip_markup(wikitext: str, hidden: set[str]) -> Unit:
    """An article's running text: no templates, references, tables, files or categories; links as their words.

    hidden: lower-case names of the namespaces whose links show something other than words.
    """
    try:
        code = mwparserfromhell.parse(wikitext)
        for tag in code.filter_tags():
            if str(tag.tag).strip().lower() in INVISIBLE_TAGS:
                tag.contents = ""
        for link in code.filter_wikilinks():
            if str(link.title).partition(":")[0].strip().lower() in hidden:
                link.title, link.text = "", None
        text = code.strip_code()
    except (ParserError, RecursionError):
        return wikitext, "markup not parsed"
    text = re.sub(r"__[A-ZÆØÅ]+__", "", text)  # switches such as __NOTOC__
    return re.sub(r"[ \t]+\n", "\n", text), None


def read_lines(file: ByteStream) -> Iterator[Unit]:
    """Lines without their ends; of a line that is too long only the beginning is ever in memory."""
    while line := file.readline(LONGEST_LINE):
        reason = None
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            line, reason = line[: 4 * EXCERPT], "too long"
            while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
        line = line.rstrip(b"\r\n")
        try:
            yield line.decode("utf-8"), reason
        except UnicodeDecodeError:
            yield line.decode("utf-8", "replace"), reason or "not UTF-8"


def join_blocks(lines: Iterable[Unit]) -> Iterator[Unit]:
    """Runs of lines between empty ones; a block is dropped for the first reason that one of its lines gives."""
    block: list[str] = []
    size, reason = 0, None
    for line, fault in lines:
        if line.strip():
            size += len(line)
            reason = reason or fault or ("too long" if size > LONGEST_LINE else None)
            if reason is None or not block:
                block.append(line)
        elif block:
            yield "\n".join(block), reason
            block, size, reason = [], 0, None
    if block:
        yield "\n".join(block), reason


def read_records(file: ByteStream, text_column: str) -> Iterator[Unit]:
    """The text of one JSON object a line; a line that gives none is yielded as it stands, with the reason."""
    for line, reason in read_lines(file):
        if reason or not line.strip():
            yield line, reason
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            yield line, "not JSON"
            continue
        text = record.get(text_column) if isinstance(record, dict) else None
        yield (text, None) if isinstance(text, str) else (line, f"no {text_column}")
