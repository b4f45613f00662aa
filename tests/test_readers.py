"""Readers: from raw files, sound and damaged, to units of text.

python -m pytest tests/test_readers.py
"""

import bz2
import gzip
import json
import lzma
import zipfile
from pathlib import Path

import pytest

from pretrain.corpus import readers
from snakmodel.settings import BadInput

PAGE = (
    "<page><title>{title}</title><ns>{ns}</ns><id>1</id>{redirect}<revision><id>2</id><timestamp>2024-01-01T00:00:00Z\
</timestamp><contributor><username>N</username><id>3</id></contributor><model>wikitext</model><format>text/x-wiki\
</format><text bytes='9' xml:space='preserve'>{text}</text><sha1>a</sha1></revision></page>"
)
WIKITEXT = """{{Infoboks|navn=Ærø}}'''Ærø''' er en [[Ø (land)|ø]] i [[Danmark]].&lt;ref&gt;En kilde&lt;/ref&gt;

== Historie ==
[[Fil:Kort.png|thumb|Et kort]]
* Den ældste [http://x.dk by] ligger mod nord.
{| class="wikitable"
| tal
|}
__INGENINDHOLDSFORTEGNELSE__
[[Kategori:Øer]]"""


def read(path: Path, reader: str, division: str = "line", most: int = 1_000) -> list[tuple[str, str | None]]:
    return list(readers.read_units(path, reader, division, "text", most))


def dump(*pages: str) -> bytes:
    names = "<namespace key='0'/><namespace key='1'>Diskussion</namespace><namespace key='6'>Fil</namespace>\
<namespace key='14'>Kategori</namespace>"
    info = f"<siteinfo><sitename>Wikipedia</sitename><namespaces>{names}</namespaces></siteinfo>"
    xml = (
        f"<mediawiki xmlns='http://www.mediawiki.org/xml/export-0.11/' xml:lang='da'>{info}{''.join(pages)}</mediawiki>"
    )
    return bz2.compress(xml.encode())


@pytest.mark.parametrize(("name", "compress"), [("da.txt.gz", gzip.compress), ("da.txt.xz", lzma.compress)])
def test_lines_and_blocks_are_the_documents_of_compressed_text(tmp_path, name, compress):
    path = tmp_path / name
    path.write_bytes(compress("Første række\nAnden række\n\n\nÅ\n".encode()))
    assert read(path, "gzip_text", "block") == [("Første række\nAnden række", None), ("Å", None)]
    assert [text for text, _ in read(path, "gzip_text")] == ["Første række", "Anden række", "", "", "Å"]
    assert [reason for _, reason in read(path, "gzip_text")] == [None, None, "empty", "empty", None]


@pytest.mark.parametrize("name", ["news.jsonl", "news.jsonl.gz"])
def test_each_bad_record_is_dropped_with_its_reason_and_the_good_ones_stay(tmp_path, name):
    lines = {
        b'{"text": " Godt nyt \xc3\xa6 "}': None,
        b'{"text": "uden slut': "not JSON",
        b"[" * 100_000: "not JSON",
        b'{"titel": "uden tekst"}': "no text",
        b'{"text": null}': "no text",
        b'{"text": "latin-1: \xe6"}': "not UTF-8",
        b'{"text": "half a pair: \\ud800"}': "not UTF-8",
        b'{"text": "nul\\u0000"}': "NUL character",
        b"": "empty",
        json.dumps({"text": "ø" * 1_001}).encode(): "too long",
        b'{"text": "sidst"}': None,
    }
    path = tmp_path / name
    data = b"\n".join(lines)
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    units = read(path, "jsonl")
    assert [reason for _, reason in units] == list(lines.values())
    assert [text for text, reason in units if reason is None] == ["Godt nyt æ", "sidst"]
    assert all(text.encode() is not None and len(text) <= 1_000 for text, _ in units)


def test_deleted_and_tiny_posts_are_dropped_and_the_zip_is_not_extracted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    posts = ["Hvad spiser I til jul?", "[deleted]", "[removed]", " removed ", "ok", "", "And."]
    lines = [json.dumps({"id": str(i), "speaker": "a", "text": text, "meta": {}}) for i, text in enumerate(posts)]
    path = tmp_path / "reddit.corpus.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../evil.txt", "x")
        archive.writestr("Denmark.corpus/speakers.json", "{}")
        archive.writestr("Denmark.corpus/utterances.jsonl", "\n".join(lines))
    deleted, tiny = ["deleted"] * 3, ["too short"] * 2
    assert [reason for _, reason in read(path, "convokit")] == [None, *deleted, *tiny, None]
    assert list(tmp_path.iterdir()) == [path]


def test_articles_lose_their_markup_and_redirects_and_talk_pages_are_dropped(tmp_path):
    page = PAGE.format(title="Ærø", ns=0, redirect="", text=WIKITEXT)
    talk = PAGE.format(title="Diskussion:Ærø", ns=1, redirect="", text="Hej")
    redirect = PAGE.format(title="Aeroe", ns=0, redirect="<redirect title='Ærø'/>", text="#OMDIRIGERING [[Ærø]]")
    path = tmp_path / "dawiki.xml.bz2"
    path.write_bytes(dump(talk, page, redirect))
    units = read(path, "wikipedia")
    assert [reason for _, reason in units] == ["not an article", None, "redirect"]
    assert units[1][0].split() == "Ærø er en ø i Danmark. Historie Den ældste by ligger mod nord.".split()


def test_what_is_too_long_is_skipped_as_it_streams_past(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "LONGEST_LINE", 20_000)
    path = tmp_path / "da.txt.gz"
    path.write_bytes(gzip.compress(b"et\n" + b"x" * 100_001 + b"\nto\n\n" + b"linje\n" * 9_000 + b"\nfire"))
    assert [(text[:4], reason) for text, reason in read(path, "gzip_text", "block")] == [
        ("et", "too long"),
        ("linj", "too long"),
        ("fire", None),
    ]
    path.write_bytes(dump(PAGE.format(title="A", ns=0, redirect="", text="a " * 50_000)))
    with pytest.raises(BadInput, match="longer than 20,000 bytes"):
        read(path, "wikipedia")


LINES = gzip.compress("æøå\n".encode() * 5_000)
DAMAGED = [
    ("gzip_text", "cut short", LINES[: len(LINES) // 2]),
    ("gzip_text", "damaged", b"no gzip at all"),
    ("gzip_text", "damaged", LINES[:40] + b"garbage" + LINES[47:]),
    ("jsonl", "cut short", LINES[:-9]),
    ("wikipedia", "damaged", b"BZh91AY&SY garbage"),
    ("wikipedia", "cut short", dump(PAGE.format(title="A", ns=0, redirect="", text="a"))[:-20]),
    ("wikipedia", "not a whole MediaWiki export", bz2.compress(b"<mediawiki><page><title>A</title>")),
    ("wikipedia", "not a whole MediaWiki export", bz2.compress(b"")),
    ("convokit", "damaged", b"no zip at all"),
    ("convokit", "utterances.jsonl", b"PK\x05\x06" + bytes(18)),
]


@pytest.mark.parametrize(("reader", "message", "data"), DAMAGED)
def test_a_damaged_file_is_one_line_that_names_it_and_what_is_wrong(tmp_path, reader, message, data):
    path = tmp_path / "raw.gz"
    path.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        read(path, reader)
    assert "raw.gz" in str(caught.value) and message in str(caught.value) and "\n" not in str(caught.value)
