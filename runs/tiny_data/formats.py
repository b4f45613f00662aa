"""The raw formats of the miniature's sources, as bytes that depend on nothing but what is in them."""

import bz2
import gzip
import io
import json
import random
import re
import zipfile
from collections.abc import Iterable
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr

DAY = "2026-01-01T00:00:00Z"
NAMESPACES = {0: "", 1: "Diskussion", 6: "Fil", 10: "Skabelon", 14: "Kategori"}


class Page(NamedTuple):
    """A page of a wiki."""

    title: str
    namespace: int
    wikitext: str
    redirect: str | None = None  # title of the page that it leads to


def gzip_text(texts: list[str]) -> bytes:
    """Blocks of lines with an empty line between them, as in CC-100."""
    return gzip.compress("".join(f"{text}\n\n" for text in texts).encode(), mtime=0)


def jsonl(rows: Iterable[dict[str, Any]]) -> bytes:
    """One object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def convokit(name: str, texts: list[str]) -> bytes:
    """A ConvoKit corpus: utterances and what else such an archive holds."""
    utterances = [
        {
            "id": f"t1_{number:06d}",
            "conversation_id": f"t3_{number // 5:06d}",
            "text": text,
            "speaker": f"bruger{number % 97}",
            "meta": {"score": number % 13},
            "reply-to": None if number % 5 == 0 else f"t1_{number - 1:06d}",
            "timestamp": 1_600_000_000 + 60 * number,
        }
        for number, text in enumerate(texts)
    ]
    members = {"utterances.jsonl": jsonl(utterances), "corpus.json": b"{}", "speakers.json": b"{}", "index.json": b"{}"}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for member, data in members.items():
            entry = zipfile.ZipInfo(f"{name}/{member}", date_time=(2026, 1, 1, 0, 0, 0))
            file.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def wikipedia(pages: list[Page]) -> bytes:
    """A MediaWiki export (0.11) of these pages, compressed."""
    schema = "http://www.mediawiki.org/xml/export-0.11/"
    names = [
        f'<namespace key="{key}" case="first-letter">{name}</namespace>' if name else f'<namespace key="{key}" />'
        for key, name in NAMESPACES.items()
    ]
    site = f"<siteinfo><sitename>Wikipedia</sitename><namespaces>{''.join(names)}</namespaces></siteinfo>"
    body = "\n".join(page_xml(number, page) for number, page in enumerate(pages, start=1))
    return bz2.compress(
        f'<mediawiki xmlns="{schema}" version="0.11" xml:lang="da">\n{site}\n{body}\n</mediawiki>\n'.encode()
    )


def page_xml(number: int, page: Page) -> str:
    """A page with one revision."""
    redirect = f"<redirect title={quoteattr(page.redirect)} />" if page.redirect else ""
    return (
        f"<page><title>{escape(page.title)}</title><ns>{page.namespace}</ns><id>{number}</id>{redirect}"
        f"<revision><id>{number}</id><timestamp>{DAY}</timestamp><contributor><username>Skriver</username><id>1</id>"
        f"</contributor><model>wikitext</model><format>text/x-wiki</format>"
        f'<text bytes="{len(page.wikitext.encode())}" xml:space="preserve">{escape(page.wikitext)}</text>'
        f"</revision></page>"
    )


def markup(rng: random.Random, text: str, name: str, links: list[str]) -> str:
    """A text as wikitext: infobox, its subject in bold, links, a reference, a heading and a category."""
    for word in links:
        text = text.replace(word, rng.choice([f"[[{word}]]", f"[[{word} (opslag)|{word}]]"]), 1)
    first, *rest = re.split(r"(?<=\.) ", text.replace(name, f"'''{name}'''", 1))
    reference = f"<ref>{{{{Kilde bog |titel=Alle byer |år={rng.randint(1950, 2020)}}}}}</ref>"
    middle = len(rest) // 2
    return (
        f"{{{{Infoboks\n| navn = {name}\n| land = Danmark\n}}}}\n{first}{reference} {' '.join(rest[:middle])}\n\n"
        f"==Mere om {name}==\n{' '.join(rest[middle:])}\n\n[[Kategori:{name}]]\n"
    )
