"""The raw formats, each in its real layout, and what hostile files do: python -m pytest tests/test_readers.py"""

import bz2
import gzip
import json
import lzma
import os
import re
import subprocess
import sys
import zipfile

import psutil
import pyarrow as pa
import pytest
import yaml
from conftest import ROOT, run_main, write_recipe
from packed import overlapping, parquet_of, tar_of, zip_of

from pretrain.corpus import read_sources
from pretrain.corpus.archives import Limits
from pretrain.corpus.sources import Source, find_source
from runs.tiny_data.formats import Page, convokit, wikipedia
from snakmodel.documents import read_documents
from snakmodel.records import read_json
from snakmodel.settings import BadInput

EXPECTED = yaml.safe_load((ROOT / "tests/test_readers.yaml").read_text())
LINES = "Første række\nAnden række\n\n\nÅ\n".encode()
LINK = "a link, or its name leads out of the archive"
RECORDS = {  # what becomes of each line: its text, or the reason to drop it
    b'{"text": " Godt nyt \xc3\xa6 "}': "Godt nyt æ",
    b'{"text": "uden slut': "not JSON",
    b"[" * 100_000: "not JSON",
    b'{"titel": "uden tekst"}': "no text",
    b'{"text": "latin-1: \xe6"}': "not UTF-8 text",
    b'{"text": "half a pair: \\ud800"}': "not UTF-8 text",
    b'{"text": "NUL: \\u0000"}': "not UTF-8 text",
    b'{"text": " "}': "empty",
}
POSTS = EXPECTED["posts"]
PAGES = {Page(*unit["page"]): unit["becomes"] for unit in EXPECTED["pages"]}
TWEETS = [
    (
        {"text": "@mor_1 Tak &amp; farvel\n@far.", "lang": "da", "user": {"screen_name": "x"}},
        "@USER Tak & farvel @USER.",
    ),
    ({"text": "Skriv til a@b.dk …", "extended_tweet": {"full_text": "Skriv til a@b.dk nu"}}, "Skriv til a@b.dk nu"),
    ({"text": "Hej", "lang": "no"}, "another language"),
    ({"text": "RT @mor: Hej", "retweeted_status": {"text": "Hej"}}, "retweet"),
    ({"delete": {"status": {"id": 1}}}, "deleted"),
    ({"limit": {"track": 1}}, "no text"),
]
MINUTE = bz2.compress("".join(json.dumps(tweet) + "\n" for tweet, _ in TWEETS).encode())
GIGAWORD = {
    "dagw/README.md": b"Om samlingen",
    "dagw/sektioner/adl/adl_aakjaer06val": LINES,
    "dagw/sektioner/adl/adl.jsonl": b'{"doc_id": "adl_aakjaer06val"}\n',
    "dagw/sektioner/adl/LICENSE": b"CC0",
    "dagw/sektioner/datwitter/raw_data/da_all_150420-260520.txt": b"1250000000000000000\n",
    "../ude": b"Ude",
    "dagw/sektioner/tv2r/tv2r_1": b"",
}
FTSPEECH = {"ftspeech/../ude": b"Ude", "ftspeech/lm/ft_lm_train_data.txt": LINES, "ftspeech/README": b"Om samlingen"}
STREAM = {
    "2013/02/01/00/00.json.bz2": MINUTE,
    "2013/02/01/00/01.json.bz2": MINUTE[:-9],
    "hjem": "/etc",
    "om.txt": b"Om",
}
OF_TWEETS = [becomes for _, becomes in TWEETS]
ROWS = pa.array([b"Godt nyt", b"latin-1: \xe6", None], pa.binary()).cast(pa.string(), safe=False)
TEXTS = ["Første række", "Anden række", "empty", "empty", "Å"]
MINUTE_GZ = gzip.compress(bz2.decompress(MINUTE))
LINE, BLOCK, WHOLE, DA = {"unit": "line"}, {"unit": "block"}, {"unit": "document"}, {"language": "da"}
OF_GIGAWORD = ["not a document", "Første række Anden række Å", *["not a document"] * 3, LINK, "empty"]
# a dump says what its wiki calls its files
FAROESE = bz2.decompress(wikipedia([Page("A", 0, "[[Mynd:K.png|kort]]Ein oyggj.")])).replace(b">Fil<", b">Mynd<")
FORMATS = [  # reader, what else the source says, content of its file, what becomes of the units
    ("gzip_text", LINE, lzma.compress(LINES), TEXTS),
    ("gzip_text", BLOCK, gzip.compress(LINES), ["Første række Anden række", "Å"]),
    ("gzip_text", WHOLE, LINES, ["Første række Anden række Å"]),
    ("jsonl", {}, b"\n".join(RECORDS), [*RECORDS.values()]),
    ("jsonl", LINE, bz2.compress(b'{"text": "et\\nto"}'), ["et", "to"]),
    ("convokit", {}, convokit("Denmark", [*POSTS]), [*POSTS.values()]),
    ("wikipedia", {}, wikipedia([*PAGES]), [*PAGES.values()]),
    ("wikipedia", LINE, bz2.decompress(wikipedia([Page("A", 0, "et\n\nto")])), ["et", "empty", "to"]),
    ("wikipedia", {}, FAROESE, ["Ein oyggj."]),
    ("wikipedia", {}, wikipedia([Page("A", 0, "{{a|" * 2_000)]), ["markup not parsed"]),
    ("wikipedia", {}, bz2.decompress(wikipedia([Page("A", 0, "x" * 9_000_000)] * 2)), ["too long"] * 2),
    ("tar_text", {**LINE, "member": [*FTSPEECH][1]}, tar_of(FTSPEECH, "w:gz"), [LINK, *TEXTS]),
    ("gigaword", {}, zip_of(GIGAWORD), OF_GIGAWORD),
    ("gigaword", LINE, zip_of({"dagw/sektioner/wiki/wiki_1": LINES}), TEXTS),
    ("twitter", DA, tar_of(STREAM), [*OF_TWEETS, "cut short or damaged", LINK, "not tweets"]),
    ("twitter", DA, zip_of({"2021/8/1/00/00.json.gz": MINUTE_GZ}), OF_TWEETS),
    ("parquet", {}, parquet_of(text=ROWS, n=[1, 2, 3]), ["Godt nyt", "not UTF-8 text", "no text"]),
    ("parquet", {"text_column": "content"}, parquet_of(content=["et", "to", "tre"]), ["et", "to", "tre"]),
]


def read(path, data, reader, **keys):
    """Of each unit of a raw file its text, or the reason to drop it."""
    path.write_bytes(data)
    (file,) = read_sources.files_of("da", Source(path=str(path), reader=reader, **keys))
    units = list(read_sources.read_file(file, Limits()))
    assert [document["id"] for document, _ in units] == [f"da:{index:08d}" for index in range(len(units))]
    return [reason or " ".join(document["text"].split()) for document, reason in units]


def names(cases):
    """The tests' names: by themselves they would hold the data, in which archives have the time of day."""
    return [f"{case[0]}-{number}" for number, case in enumerate(cases)]


@pytest.mark.parametrize(("reader", "keys", "data", "expected"), FORMATS, ids=names(FORMATS))
def test_every_unit_of_a_format_is_read_or_dropped_with_its_reason(tmp_path, reader, keys, data, expected):
    assert read(tmp_path / "raw", data, reader, **keys) == expected


def test_a_pinned_data_set_is_streamed_and_needs_no_internet_in_a_local_folder(tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows/train.jsonl").write_text('{"content": "et\\nto"}\n{"content": null}\n')
    pin = {"id": str(tmp_path / "rows"), "revision": None, "configuration": None, "split": "train"}
    for unit, expected in (("document", ["et to", "no content"]), ("line", ["et", "to", "no content"])):
        assert (
            read(tmp_path / "hub.json", json.dumps(pin).encode(), "hub", unit=unit, text_column="content") == expected
        )
    with pytest.raises(BadInput, match="hub.json: cut short.*not a hub file; .*test") as error:
        read(tmp_path / "hub.json", json.dumps({**pin, "split": "test" * 100}).encode(), "hub")
    assert len(str(error.value)) < len(str(tmp_path)) + 300


def cut(data):
    """Half a file, or the file without what says that it is whole."""
    return data[: len(data) // 2]


TEXT = "".join(f"Række {number * 7919 % 100_003}\n" for number in range(20_000)).encode()
TAR = tar_of({"a.json": b"{}\n", "b.json": b"{}\n"})
BOMB = bytes(50_000_000)
REPEATED = pa.array(["x" * 100_000] * 1_000).dictionary_encode()
DAMAGED = [  # reader, what else the source says, content of its file, what is said of it
    ("gzip_text", LINE, cut(gzip.compress(TEXT)), r"\d,\d+ units: EOFError"),
    ("gzip_text", LINE, cut(bz2.compress(TEXT)), "EOFError"),
    ("gzip_text", LINE, cut(lzma.compress(TEXT)), "EOFError"),
    ("gzip_text", LINE, b'{"text": "Godt nyt"}\n', "it looks like JSON lines; say `reader: jsonl`"),
    ("gzip_text", LINE, bz2.compress(BOMB), r"\d+ bytes expand to more than 1,"),
    ("wikipedia", {}, wikipedia([*PAGES])[:-20], "EOFError"),
    ("wikipedia", {}, b"<mediawiki><page><title>A</title>", "MalformedXML"),
    ("wikipedia", {}, b"<html></html>", "MalformedXML"),
    ("wikipedia", {}, bz2.decompress(wikipedia([*PAGES])).replace(b"<ns>0", b"<ns>o"), "MalformedXML: invalid literal"),
    ("wikipedia", {}, bz2.decompress(wikipedia([Page("A", 0, "x" * 17_000_000)])), "a page is longer than 16,777,216"),
    ("convokit", {}, convokit("Denmark", [*POSTS])[:-20], "BadZipFile"),
    ("convokit", {}, zip_of({"a": b""}), "no utterances.jsonl"),
    ("tar_text", {**LINE, "member": "x"}, TAR, "it holds no file 'x'"),
    ("twitter", {}, TAR[:1024], "EOFError: the archive's end is not there"),
    ("twitter", {}, TAR[:1024] + b"x" * 512 + TAR[1536:], "ReadError: a header is damaged"),
    ("twitter", {}, cut(gzip.compress(tar_of({"a.json": TEXT}))), "EOFError"),
    ("twitter", {}, tar_of({"a.json.bz2": bz2.compress(BOMB)}), r"\d+ bytes expand to more than 1,"),
    ("twitter", {}, tar_of({"a" * 2_000_000: b""}), "ReadError: a header says 2,000,014 bytes"),
    ("gigaword", {}, zip_of({"a": BOMB}), "0 units: [0-9,]+ bytes expand to more than"),
    ("gigaword", {}, zip_of({"a": BOMB}, zipfile.ZIP_BZIP2), "'a' is compressed by another method than deflate"),
    ("gigaword", {}, overlapping(TEXT), "its members overlap"),
    ("parquet", {}, cut(parquet_of(text=["et"])), "ArrowInvalid"),
    ("parquet", {}, parquet_of(txt=["et"]), "no column 'text'; did you mean txt"),
    ("parquet", {}, parquet_of(1_000, text=REPEATED), "text expands beyond"),
    ("hub", {}, b'{"id": "x"}', "KeyError: 'split'"),
]


@pytest.mark.parametrize(("reader", "keys", "data", "message"), DAMAGED, ids=names(DAMAGED))
def test_a_damaged_or_hostile_file_is_one_short_line_that_names_it(tmp_path, reader, keys, data, message):
    with pytest.raises(BadInput, match=f"^.*/raw: .*refused after .*{message}") as error:
        read(tmp_path / "raw", data, reader, **keys)
    assert "\n" not in str(error.value) and len(str(error.value)) < len(str(tmp_path)) + 400


def test_a_text_whose_documents_nobody_knows_must_say_what_they_are():
    own = {"mine": Source(path="da.txt", reader="gzip_text")}
    with pytest.raises(BadInput, match="read: mine: what is a document of it. Say `unit: line`"):
        find_source("mine", own, "", "read")


def test_what_is_too_long_is_skipped_as_it_streams_past(tmp_path):
    path = tmp_path / "da.txt"
    path.write_bytes(b"et\n" + b"x" * 300_001 + b"\nto\n\n" + b"linje\n" * 90_000 + b"\nfire")
    for unit, expected in (
        ("block", ["too long", "too long", "fire"]),
        ("line", ["et", "too long", "to", "empty"]),
        ("document", ["too long"]),
    ):
        file = read_sources.RawPart("da", "da", path, Source(path=str(path), reader="gzip_text", unit=unit))
        units = list(read_sources.read_file(file, Limits(longest_document=20_000)))
        assert [reason or document["text"] for document, reason in units][:4] == expected
        assert max(len(document["text"]) for document, _ in units) <= 10_000


def peak(*words):
    """A script's error and its peak memory in bytes."""
    process = psutil.Popen([sys.executable, *map(str, words)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    return error, os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024


def test_hostile_files_beside_sound_ones_are_refused_by_name_in_one_run_and_replaced_without_reading_all_again(
    tmp_path,
):
    hostile = {
        "bomb": ("gigaword", zip_of({"dagw/sektioner/a/a_1": BOMB})),
        "zeros": ("gzip_text", bz2.compress(BOMB)),
        "cut": ("gzip_text", cut(gzip.compress(TEXT))),
        "nothing": ("gzip_text", b""),
        "noise": ("gzip_text", b"\xff\xfe\n\0\n"),
        "lines": ("gzip_text", b'{"text": "Hej"}\n'),
    }
    sound = {
        "long": ("gzip_text", b"et\n" + b"x" * 200_000_000 + b"\n\xe6\nto\0\ntre\n"),
        "climber": ("twitter", tar_of({"../ude.json": b"{}\n", "a.json": b'{"text": "Hej"}\n'})),
        "plain": ("gzip_text", LINES),
    }
    own = {}
    for name, (reader, data) in {**hostile, **sound}.items():
        (tmp_path / name).write_bytes(data)
        own[name] = {"path": str(tmp_path / name), "reader": reader, **({"unit": "line"} if "text" in reader else {})}
    settings = {"own": own, "workers": 1, "documents_per_part": 5_000}
    recipe = write_recipe(tmp_path / "recipe.yaml", read_sources={"use": [*own], **settings})
    small = write_recipe(
        tmp_path / "small.yaml", run_dir=str(tmp_path / "small"), read_sources={"use": ["plain"], **settings}
    )
    script = ("pretrain/corpus/read_sources.py", "--config")
    (_, done, base), (error, status, most) = peak(*script, small), peak(*script, recipe)
    assert (done, status) == (0, 2) and most - base < 100 * 2**20
    assert re.fullmatch("error: .*\n", error) and all(f"{tmp_path / name}: " in error for name in hostile)
    assert not any(f"{tmp_path / name}: " in error for name in sound)
    raw = tmp_path / "run/corpus/raw"
    clocks = {path: path.stat().st_mtime_ns for name in sound for path in raw.glob(f"{name}-*")}
    for name in hostile:
        (tmp_path / name).write_bytes(zip_of({"a": LINES}) if name == "bomb" else LINES)
    run_main(read_sources, recipe)
    assert len(clocks) == len(sound) and all(path.stat().st_mtime_ns == clock for path, clock in clocks.items())
    assert {path.name for path in raw.glob("*.parquet")} == {f"{name}-00000.parquet" for name in own}
    counts = read_json(raw / "run.json")["counts"]
    assert {name: (counts[name]["kept"], counts[name]["dropped"]) for name in own} == {
        **dict.fromkeys(hostile, (3, {"empty": 2})),
        "bomb": (1, {}),
        "long": (2, {"too long": 1, "not UTF-8 text": 2}),
        "climber": (1, {LINK: 1}),
        "plain": (3, {"empty": 2}),
    }
    rejects = list(read_documents(raw / "rejects/long-00000.parquet"))
    assert [len(row["text"]) for row in rejects] == [10_000, 1, 3]
