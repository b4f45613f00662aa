"""Rows of local files, and what is told of those that are empty or not there: pytest tests/test_tables.py"""

import gzip
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakmodel import testsets
from snakmodel.config import BadInput
from snakmodel.multiple_choice import read_items
from snakmodel.tables import as_input, is_on_hub, read_rows, resolve_revision


def test_json_rows_are_read_as_they_are_written_whatever_types_a_column_mixes(tmp_path):
    rows = [{"q": "a", "n": 1}, {"q": 5, "n": "x"}, {"q": None, "more": ["y"]}]
    expected = [{"q": None, "n": None, "more": None} | row for row in rows]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    for name, text in (("rows.json", json.dumps(rows, indent=1)), ("lines.json", lines), ("lines.jsonl", "\n" + lines)):
        (tmp_path / name).write_text(text)
        assert list(read_rows(str(tmp_path / name), None, "train", None, "set a")) == expected
    with gzip.open(tmp_path / "lines.jsonl.gz", "wt") as file:
        file.write(lines)
    assert list(read_rows(str(tmp_path / "lines.jsonl.gz"), None, "train", None, "set a")) == expected


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.jsonl", '{"q": 1}\n\n{"q": \n', r"line 3: not JSON \(Expecting value, column"),
        ("a.json", '[{"q": 1},\n {"q" 2}]', "line 2: not JSON .*delimiter, column 7"),
        ("a.jsonl", '{"q": 1}\n[1]\n', r"line 2: should be an object of columns, got '\[1\]'"),
        ("a.json", '[{"q": 1}, 7]', "row 2: should be an object of columns, got '7'"),
        ("a.jsonl", "\n", "has no rows"),
        ("a.json", "[]", "has no rows"),
        ("a.jsonl.gz", "no gzip", "cannot be read: Not a gzipped file"),
    ],
)
def test_json_that_is_broken_is_told_by_its_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=rf"^set a \({tmp_path}/{name}\).*{message}"):
        list(read_rows(str(tmp_path / name), None, "train", None, "set a"))


def test_what_is_empty_is_told_in_one_wording_whatever_its_format(tmp_path):
    empty, one = pa.table({"q": pa.array([], pa.string())}), pa.table({"q": ["a"]})
    for folder in ("parquet", "csv", "jsonl"):
        (tmp_path / folder).mkdir()
    pq.write_table(empty, tmp_path / "parquet/test.parquet")
    pq.write_table(one, tmp_path / "parquet/train.parquet")
    for kind, whole in (("csv", "q\na\n"), ("jsonl", '{"q": "a"}\n')):
        (tmp_path / kind / f"train.{kind}").write_text(whole)
        (tmp_path / kind / f"test.{kind}").write_text("")
    (tmp_path / "head.csv").write_text("q\n")
    files = ["parquet/test.parquet", "csv/test.csv", "jsonl/test.jsonl"]
    said = {name: f"{name}) has no rows" for name in [*files, "head.csv"]}
    said |= {"jsonl": "jsonl) has no rows in its split 'test'", "csv": said[files[1]], "parquet": said[files[0]]}
    for name, message in said.items():
        with pytest.raises(BadInput, match=f"^set a {re.escape(f'({tmp_path}/{message}')}$"):
            list(read_rows(str(tmp_path / name), None, "test", None, "set a"))
        if name in ("csv", "jsonl", "parquet"):
            assert list(read_rows(str(tmp_path / name), None, "train", None, "set a")) == [{"q": "a"}]
    (tmp_path / "choice.jsonl").write_text('{"q": "a", "o": ["x", "y"], "a": 0, "split": "train"}\n')
    with pytest.raises(BadInput, match=r"choice.jsonl\) has no rows in its split 'test'"):
        read_items(testsets.TestSet(str(tmp_path / "choice.jsonl"), ["q"], answer="a", options="o"))


def test_a_path_that_is_not_there_is_no_id_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert is_on_hub("ORG/NAME") and not is_on_hub("data/mine")
    for path in ("data/mine", "./mine", "mine.parquet", "a/b/c", str(tmp_path / "mine")):
        message = f"^set a: {path}: no such file or folder; give one, or a Hub id such as ORG/NAME$"
        for refuse in (
            lambda path: as_input(path, None, "test", None, "set a"),
            lambda path: resolve_revision(path, None, "set a"),
            lambda path: list(read_rows(path, None, "test", None, "set a")),
        ):
            with pytest.raises(BadInput, match=message):
                refuse(path)
