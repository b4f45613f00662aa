"""Raw files from a server that misbehaves: python -m pytest tests/test_download.py"""

import hashlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT
from faulty_site import NEW, OLD, SIZE, Site

from pretrain.corpus import download, read_sources
from pretrain.corpus.sources import find_source
from snakmodel.config import load_yaml
from snakmodel.documents import read_documents
from snakmodel.records import read_json
from snakmodel.settings import BadInput

SHA_OLD, SHA_NEW = (hashlib.sha256(data).hexdigest() for data in (OLD, NEW))


@pytest.fixture
def site(tmp_path):
    with Site(tmp_path) as site:
        threading.Thread(target=site.serve_forever, args=[0.01], daemon=True).start()
        yield site
        site.shutdown()


def run(stage, recipe, *words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script", "--config", str(recipe), *words])
        stage.main()


def start(recipe):
    """The stage in a process of its own."""
    command = [sys.executable, "-u", "pretrain/corpus/download.py", "--config", str(recipe)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


ARRIVES = [  # faults of the server; what is known of the file; what arrives; how many copies of it are sent at most
    ([], {}, OLD, 1),
    (["drop"] * 9, {}, OLD, 1),  # more than `attempts`, but each brings something
    (["drop", "500", "502", "drop"], {}, OLD, 1),
    (["429 1"], {}, OLD, 1),
    (["too long"], {}, OLD, 1),
    (["no length"], {}, OLD, 1),
    (["drop", "no ranges"], {}, OLD, 1.5),
    (["drop", "changed"], {}, NEW, 1.5),
    (["drop", "changed, glued"], {}, NEW, 2.5),
    (["too short"], {"sha256": SHA_OLD}, OLD, 1.5),
    (["too short"], {"md5": hashlib.md5(OLD).hexdigest()}, OLD, 1.5),
    (["too short"], {"bytes": SIZE}, OLD, 1.5),
]


@pytest.mark.parametrize(("faults", "known", "content", "copies"), ARRIVES)
def test_a_file_arrives_whole_and_what_is_there_is_not_sent_again(site, faults, known, content, copies):
    site.faults, clock = [*faults], time.monotonic()
    site.pause = 0.01 if "no length" in faults else 0  # long enough for a line of progress
    run(download, site.recipe(a={"files": [{"url": site.url, **known}]}))
    assert (site.data / "a").read_bytes() == content and not (site.data / "a.part").exists()
    assert sum(site.sent) <= copies * SIZE and time.monotonic() - clock >= faults.count("429 1")
    facts = read_json(site.data / ".download/a.json")
    assert (facts["sha256"], facts["bytes"]) == (hashlib.sha256(content).hexdigest(), SIZE)


FAILS = [
    (["404"], {}, "a: URL: the server answers 404 Not Found"),
    (["403"], {}, "a: URL: the server answers 403 Forbidden"),
    (["503 9999"], {}, "URL: 503 Service Unavailable; given up after 0 bytes: it asks to wait 9999 s"),
    (["drop", "500", "500", "500"], {}, "URL: 500 .*; given up after 450,000 bytes: 4 failures in a row"),
    ([], {"sha256": "00ff"}, f"a.part: sha256 {SHA_OLD}, the catalogue says 00ff; .* the description of a"),
    ([], {"url": "ftp://x/y"}, "a: 'ftp://x/y' is no http"),
]


@pytest.mark.parametrize(("faults", "keys", "message"), FAILS)
def test_what_will_not_come_is_one_line_with_its_address(site, faults, keys, message):
    site.faults = faults
    with pytest.raises(BadInput, match=message.replace("URL", re.escape(site.url))) as error:
        run(download, site.recipe(a={"files": [{"url": site.url, **keys}]}))
    assert "\n" not in str(error.value) and not (site.data / "a").exists()
    assert not (site.home / "run/corpus/downloads/run.json").exists()


def test_done_asks_nobody_and_another_version_is_refused_until_its_record_is_deleted(site, capsys):
    path = site.recipe()
    run(download, path)
    site.faults = ["404"] * 3
    run(download, path)
    (site.home / "run/corpus/downloads/run.json").unlink()
    run(download, path)
    assert "download: done" in capsys.readouterr().out and len(site.ranges) == 1
    (site.data / "a").unlink()
    site.faults, site.content = [], NEW
    for _ in range(2):
        with pytest.raises(BadInput, match=f"sha256 {SHA_NEW}, but it was {SHA_OLD} .* delete .*/.download/a.json"):
            run(download, path)
    (site.data / ".download/a.json").unlink()
    run(download, path)
    assert (site.data / "a").read_bytes() == NEW and len(site.ranges) == 2


def test_what_must_be_asked_for_is_named_while_the_rest_comes_and_a_file_put_there_is_read(site):
    news = {"page": "https://example.org/news", "access": "ask its makers"}
    path = site.recipe(news=news, several={"files": [{"url": f"{site.url}.1"}, {"url": f"{site.url}.2"}]})
    message = "data/news not found; it cannot be fetched. https://example.org/news: ask its makers. Then put it there"
    for stage in (download, read_sources):
        with pytest.raises(BadInput, match=re.escape(message)):
            run(stage, path)
    (site.data / "news").write_bytes(b"Godt nyt\n")
    run(download, path)
    run(read_sources, path)
    names = ("news", "several.000000", "several.000001")
    lines = [list(read_documents(site.home / f"run/corpus/raw/{name}-00000.parquet")) for name in names]
    assert read_json(site.data / ".download/news.json")["bytes"] == 9
    assert [row["text"] for row in lines[0]] == ["Godt nyt"] and [len(rows) for rows in lines[1:]] == [100_000] * 2
    assert lines[2][-1]["id"] == "several.000001:00099999"
    (site.data / "several/da.txt.2").unlink()
    with pytest.raises(BadInput, match="several/da.txt.2 not found: run pretrain/corpus/download.py first"):
        run(read_sources, path)


@pytest.mark.parametrize(("kind", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_while_one_process_fetches_another_waits_and_goes_on_at_the_last_byte_if_it_is_killed(site, kind, status):
    site.pause, path = 0.02, site.recipe()
    first = start(path)
    while not site.sent:
        time.sleep(0.01)
    second = start(path)
    assert "another process is at it; waiting" in second.stdout.readline()
    first.send_signal(kind)
    interrupted = "interrupted; the same command continues\n" if kind == signal.SIGINT else ""
    assert (first.communicate()[1], first.returncode) == (interrupted, status)
    output, error = second.communicate()
    assert re.search(rf"data/a: [\d,]+ of {SIZE:,} bytes", output) and not error  # a line of progress, as in a log
    assert (site.data / "a").read_bytes() == OLD
    assert len(site.ranges) == 2 and 0 < int(site.ranges[1][6:-1]) < SIZE
    assert sum(site.sent) - SIZE < 0.1 * SIZE  # what was under way


def test_one_server_is_asked_for_no_more_files_at_a_time_than_is_polite(site):
    site.pause = 0.002
    run(download, site.recipe(a={"files": [{"url": f"{site.url}.{number}"} for number in range(6)]}), "workers=2")
    assert site.most == 2 and len([*(site.data / "a").glob("da.txt.*")]) == 6


def test_no_space_left_names_the_file(site):
    (site.data).mkdir()
    (site.data / "a.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device: .*/data/a.part"):
        run(download, site.recipe())


def test_a_data_set_of_the_hub_is_pinned_once_its_first_row_has_come(site):
    rows = site.home / "rows"
    rows.mkdir()
    (rows / "train.jsonl").write_text('{"text": "Godt nyt"}\n')
    for hub, keys, message in (
        ({"id": str(rows)}, {"text_column": "txt"}, "its rows hold no 'txt'; did you mean text"),
        ({"id": str(rows), "split": "test"}, {}, "rows: ValueError: .*test"),
        ({"id": "nobody/nothing"}, {"access": "log in"}, "nobody/nothing: .*; log in"),  # no internet in tests
    ):
        with pytest.raises(BadInput, match=message):
            run(download, site.recipe(a={"reader": "hub", "hub": hub, **keys}))
    run(download, site.recipe(a={"reader": "hub", "hub": {"id": str(rows)}}))
    pin = {"id": str(rows), "revision": None, "configuration": None, "split": "train"}
    assert read_json(site.data / "a") == pin
    with pytest.raises(BadInput, match="a: revision None, the catalogue says 12ab; .* the description of a"):
        run(download, site.recipe(a={"reader": "hub", "hub": {"id": str(rows), "revision": "12ab"}}))


def test_every_source_of_the_catalogue_is_whole():
    catalogue = ROOT / "configs/sources.yaml"
    sources = {name: find_source(name, {}, str(catalogue), "here") for name in load_yaml(catalogue)}
    ten = load_yaml(ROOT / "configs/snakmodel-7b.yaml")["download"]["use"]
    assert len(ten) == 10 and {*sources} == {*ten, "ncc", "hplt", "culturax_no", "hplt_no", "local"}
    for name in {*sources} - {"local"}:
        source = sources[name]
        assert source.licence and source.citation and source.page, name
        assert source.files or source.hub or source.access, name
