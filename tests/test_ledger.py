"""The ledger, what it shows, and the tokenizers that it counts with: pytest tests/test_ledger.py"""

import re
from functools import partial

import pytest
import yaml
from conftest import ROOT, run_main, script, write_recipe
from datasets import load_dataset
from transformers import AutoTokenizer, LlamaTokenizer

from pretrain.corpus import (
    decontaminate,
    deduplicate,
    fertility,
    filter_language,
    filter_quality,
    ledger,
    make_shards,
    read_sources,
    train_tokenizer,
)
from pretrain.corpus.sieve import sift
from runs.tiny_data import write
from snakmodel.config import BadInput
from snakmodel.documents import document_files, read_documents
from snakmodel.printed_tables import to_latex, to_markdown
from snakmodel.records import read_json, write_jsonl

SOURCES = {
    "danewsroom": {"licence": "ask_first | 100% & more", "redistribution": "no", "citation": "Varab (2020)"},
    "dawiki": {"licence": "CC BY-SA 4.0", "redistribution": "yes", "citation": "Wiki_pedia"},
}
ODD = "<s>日本語</s> <unk> <0x41> 😀 e\u0301  to  mellemrum,\ttabulator\nny linje\r\n\n1234567890 Æblegrød på Ærø"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The folder of recipe.yaml and its run, an English base and a Danish corpus counted."""
    home = tmp_path_factory.mktemp("ledger")
    sections = {"tiny_data": {"documents": 600}, "train_tokenizer": {"vocabulary": 500}}
    base = write_recipe(home / "base.yaml", extends=str(ROOT / "configs/tiny-base.yaml"), **sections)
    for module in (write, read_sources, filter_language, deduplicate, train_tokenizer, make_shards):
        run_main(module, base, f"run_dir={home / 'base'}")
    sections = {"read_sources": {"own": SOURCES}, "base_run": str(home / "base"), "fertility": {"documents": 1000}}
    sections["train_tokenizer"] = {"extend": "{base_run}/tokenizer", "new_tokens": 100}
    recipe = write_recipe(home / "recipe.yaml", extends=str(ROOT / "configs/tiny.yaml"), **sections)
    corpus = (read_sources, filter_language, filter_quality, decontaminate, deduplicate)
    for module in (*corpus, train_tokenizer, make_shards, ledger, fertility):
        run_main(module, recipe)
    return home


def counted(seen, kept, words, size, tokens=None, **dropped):
    counts = {"seen": seen, "kept": kept, "dropped": dropped, "words": words, "bytes": size}
    return counts if tokens is None else {**counts, "tokens": tokens}


PLANTED = {
    "read_sources": {"a_b": counted(1500, 1200, 9000, 60_000, empty=300), "news": counted(10, 10, 99, 700)},
    "deduplicate": {"a_b": counted(1200, 1000, 7500, 50_000, copy=200), "news": counted(10, 0, 0, 0, copy=10)},
    "make_shards": {"a_b": counted(1000, 1000, 7500, 50_000, 12_345), "news": counted(0, 0, 0, 0, 0)},
}


def test_planted_counts_become_the_ledger_and_the_numbers_of_the_table():
    book = ledger.build_ledger(PLANTED)
    assert book["sources"]["a_b"]["make_shards"] == book["totals"]["make_shards"]
    assert book["sources"]["news"]["read_sources"]["tokens"] is None
    assert book["totals"]["deduplicate"]["dropped"] == {"copy": 210}
    head, rows = ledger.data_table(book)
    assert head == ["Source", "Read", "Documents", "Unique", "Words", "MB", "Tokens", "Share (%)"]
    assert rows[0] == ["a_b", "1,500", "1,200", "1,000", "7,500", "0.05", "12,345", "100.0"]
    assert rows[-1] == ["All sources", "1,510", "1,210", "1,000", "7,500", "0.05", "12,345", "100.0"]


def test_counts_that_do_not_close_are_refused_with_both_numbers():
    for shards, message in (
        ({"a_b": counted(999, 999, 1, 1, 1)}, "a_b: deduplicate kept 1,000 documents, make_shards saw 999; run pre"),
        ({"news": counted(4, 4, 1, 1, 1)}, "news: deduplicate kept 0 documents, make_shards saw 4"),
        ({"news": counted(0, 1, 1, 1, 1)}, "make_shards: news: saw 0 documents, kept or dropped 1"),
    ):
        with pytest.raises(BadInput, match=message):
            ledger.build_ledger({**PLANTED, "make_shards": {**PLANTED["make_shards"], **shards}})


def test_names_cannot_break_a_table():
    rows = [["a_b|c & 100% #1 $x {y} ~^\\\n", "1,000"], ["Sum", "–"]]
    text = to_latex(["Source", "Words"], rows, last=1)
    assert r"a\_b|c \& 100\% \#1 \$x \{y\} \textasciitilde{}\textasciicircum{}\textbackslash{} & 1,000 \\" in text
    assert [line.count(" & ") for line in text.splitlines() if line.endswith(r"\\")] == [1, 1, 1]
    assert not re.search(r"(?<!\\)[%#$_]", text.split("\n", 1)[1]) and text.count("{") == text.count("}")
    assert text.splitlines()[-4:-1] == [r"\midrule", r"Sum & -- \\", r"\bottomrule"]
    lines = "| Source | Words |\n| -- | --: |\n| a\\_b\\|c &lt;b>\\*x\\* | 1 |\n"
    assert to_markdown(["Source", "Words"], [["a_b|c <b>*x*", "1"]]) == lines


def test_the_card_is_what_the_hub_reads_and_leaves_out_what_must_not_be_passed_on(home, tmp_path):
    card = (home / "run/corpus/ledger/README.md").read_text()
    _, front, body = card.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert (facts["language"], facts["license"], facts["size_categories"]) == (["da"], "other", ["n<1K"])
    assert "> **Not to be passed on:** danewsroom.\n" in body and "danewsroom-" not in front
    assert r"| danewsroom | ask\_first \| 100% & more | no | – | Varab (2020) |" in body
    book = read_json(home / "run/corpus/ledger/ledger.json")
    (copies, *_) = book["totals"]["deduplicate"]["dropped"].items()
    assert "min_characters: 10" in body and f"| deduplicate | {copies[0]} | {copies[1]} |" in body
    for path in document_files(home / "run/corpus/unique"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "README.md").write_text(card)
    for name, sources in (("dawiki", ["dawiki"]), ("default", ["dawiki", "eubookshop", "reddit"])):
        found = load_dataset(str(tmp_path), name, split="train", cache_dir=str(tmp_path / "cache"))
        assert len(found) == sum(book["sources"][source]["make_shards"]["documents"] for source in sources)
    assert ledger.size_category(999) == "n<1K" and ledger.size_category(1_000_000) == "1M<n<10M"
    changed = home / "changed.yaml"
    changed.write_text((home / "recipe.yaml").read_text().replace("CC BY-SA 4.0", "CC0"))
    assert "ledger: done" in run_main(ledger, home / "recipe.yaml")
    assert "ledger: done" not in run_main(ledger, changed)  # a licence is in no step's record


def test_the_card_names_every_part_of_a_source_whether_it_was_read_from_one_file_or_several(tmp_path):
    texts = {"news/a": ["et", "to", "tre"], "news/b": ["fire", "fem", "seks"], "news_2": ["syv"]}
    (tmp_path / "news").mkdir()
    for name, some in texts.items():
        write_jsonl(tmp_path / f"{name}.jsonl", [{"text": text} for text in some])
    paths = {"news": "news", "news_2": "news_2.jsonl"}
    own = {name: {"path": str(tmp_path / path), "reader": "jsonl"} for name, path in paths.items()}
    recipe = write_recipe(tmp_path / "recipe.yaml", read_sources={"use": list(own), "own": own}, ledger={})
    run_main(read_sources, recipe, "documents_per_part=2", "workers=1")
    run_main(ledger, recipe)
    raw, several = tmp_path / "run/corpus/raw", texts["news/a"] + texts["news/b"]
    (raw / "README.md").write_text((tmp_path / "run/corpus/ledger/README.md").read_text())
    for name, expected in (("news", several), ("news_2", ["syv"]), ("default", [*several, "syv"])):
        found = load_dataset(str(raw), name, split="train", cache_dir=str(tmp_path / "cache"))
        assert found["text"][:] == expected


def test_inspect_shows_documents_of_the_reason_asked_for_and_no_others(home):
    look = partial(script, "pretrain/corpus/inspect_corpus.py", "--config", home / "recipe.yaml", "count=1000")
    gone = [d for path in document_files(home / "run/corpus/unique/rejects") for d in read_documents(path)]
    near = {d["id"] for d in gone if d["reason"] == "near duplicate" and d["source"] == "reddit"}
    said = look("step=deduplicate", "reason=near duplicate", "source=reddit").stdout
    assert near and set(re.findall(r"^([a-z]+:\d{8})", said, re.MULTILINE)) == near
    assert said.count("which stays:\n    ") == len(near) and max(map(len, said.splitlines())) <= 100
    said = look("count=2").stdout
    assert "== filter_language, kept: 2 of " in said and "== filter_language, language sv: 2 of " in said
    assert said == look("count=2").stdout != look("count=2", "seed=2").stdout
    assert re.search(r"'language'; there are kept \(\d+\), language no \(\d+\)", look("reason=language").stderr)


def test_a_long_text_is_shortened_and_cannot_steer_the_terminal_and_a_pipe_may_end(tmp_path):
    text = "\x1b[2Jord " + "ord " * 100_000
    document = {"text": text, "source": "a", "id": "a:00000000"}, None
    sift(tmp_path / "run/corpus/raw/a-00000.parquet", [document], {}, {})
    recipe = write_recipe(tmp_path / "recipe.yaml", inspect={"step": "read_sources", "characters": 100})
    command = f"python pretrain/corpus/inspect_corpus.py --config {recipe}"
    said = script("-c", command, program="bash").stdout
    assert f"[... {len(text) - 100:,} more characters]" in said and "\x1b" not in said
    piped = script("-c", f"{command} characters=400000 | head -1", program="bash")
    assert piped.stdout == "== read_sources, kept: 1 of 1 documents ==\n" and piped.stderr == ""


def test_a_lengthened_vocabulary_keeps_the_old_ids_and_needs_fewer_tokens_for_danish(home):
    old, new = (AutoTokenizer.from_pretrained(home / run / "tokenizer") for run in ("base", "run"))
    assert len(new) == len(old) + 100 == max(new.get_vocab().values()) + 1
    assert old.get_vocab().items() <= new.get_vocab().items()
    texts = list(train_tokenizer.read_texts(home / "run/corpus/unique", 1.0))
    before, after = (make_shards.encode(tokenizer, texts)[0] for tokenizer in (old, new))
    assert len(after) < 0.8 * len(before) and len(set(after.tolist()) - set(range(len(old)))) > 80
    for text in [*texts, ODD]:
        ids = new(text, split_special_tokens=True)["input_ids"]
        assert ids[0] == new.bos_token_id == old.bos_token_id and new.eos_token_id not in ids
        assert new.decode(ids[1:]) == text
        ends = [{end for _, end in t(text, return_offsets_mapping=True)["offset_mapping"]} for t in (new, old)]
        assert ends[0] <= ends[1]  # its tokens are old ones, some of them joined
    assert "<0xF0>" in new.tokenize("😀")


def test_a_tokenizer_is_trained_on_the_same_share_of_every_source(home):
    once, again, every = (list(train_tokenizer.read_texts(home / "run/corpus/unique", s)) for s in (0.5, 0.5, 1.0))
    assert once == again and set(once) < set(every) and 0.4 < len(once) / len(every) < 0.6
    with pytest.raises(BadInput, match="extend .* and new_tokens .* go together"):
        run_main(train_tokenizer, home / "recipe.yaml", "new_tokens=0")


def test_fertility_of_a_text_that_can_be_counted_by_hand(tmp_path):
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁husebo.", "hu", "hus", "▁hus"]
    ids, merges = {piece: id for id, piece in enumerate(pieces)}, [("h", "u"), ("hu", "s"), ("▁", "hus")]
    LlamaTokenizer(vocab=ids, merges=merges).save_pretrained(tmp_path)
    (tmp_path / "da.txt").write_text("huset bo hus. Ø\n\nbo\n")  # ▁hus e <t> | ▁ b o | ▁hus . | ▁ <C3> <98>
    texts = fertility.sample_file(tmp_path / "da.txt", 1)
    count = fertility.count_tokens(fertility.load(tmp_path / "tokenizer.json"), texts)
    assert count == fertility.Count(documents=1, words=4, bytes=16, tokens=11, runs=4, whole=1, byte_tokens=3)
    assert list(fertility.ratios(count).values())[4:] == [11 / 4, 16 / 11, 1 / 4, 3 / 11]
    assert fertility.spread(100, 4).tolist() == [0, 25, 50, 75] and fertility.spread(2, 9).tolist() == [0, 1]


def test_fertility_agrees_with_the_shards_and_names_every_language(home):
    rows = read_json(home / "run/corpus/fertility/fertility.json")["rows"]
    sources = read_json(home / "run/corpus/ledger/ledger.json")["sources"]
    for row in rows[: len(sources)]:
        mine = sources[row["source"]]["make_shards"]
        assert all(row[key] == mine[key] for key in ("documents", "words", "bytes"))
        assert row["tokens"] + 2 * row["documents"] == mine["tokens"]  # one opens, one ends each document
    places = [*(("da", source) for source in [*sorted(sources), "all samples"]), ("en", "validation")]
    assert [(row["language"], row["source"]) for row in rows] == places
    assert rows[-1]["tokens_per_word"] < rows[-2]["tokens_per_word"]  # an English tokenizer
    with pytest.raises(BadInput, match="out/gone: no tokenizer.json to be had"):
        run_main(fertility, home / "recipe.yaml", "tokenizers.gone=out/gone")
