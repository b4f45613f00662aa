"""Rows of local JSON files: pytest tests/test_tables.py"""

import gzip
import json

import pytest

from snakmodel.config import BadInput
from snakmodel.tables import read_rows


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
