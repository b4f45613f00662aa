"""The ledger of gains and losses, on models that were taught and made to forget: pytest tests/test_forgetting.py"""

import math

import numpy as np
import pytest
import torch
from conftest import SMALL, run_main, save_step, small_model, write_recipe

from analyze import forgetting, gains
from snakmodel.config import BadInput
from snakmodel.documents import DocumentWriter
from snakmodel.records import read_json, write_jsonl
from snakmodel.series import write_series

LEARNT = [" ".join(f"w{n % 20 + k}" for k in (5, 6, 7, 5, 6, 7)) for n in range(40)]
LOST = [" ".join(f"w{(7 * n + k) % 40 + 50}" for k in range(30)) for n in range(40)]  # longer than a window


def teach(model, tokenizer):
    """Some steps of training on what is to be learnt; what is not repeated is forgotten."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    ids = torch.tensor([tokenizer(text).input_ids for text in LEARNT])
    for _ in range(30):
        model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()


@pytest.fixture(scope="module")
def home(tmp_path_factory, tokenizer):
    """A run with three steps: the later ones have learnt `da` and forgotten `en`; the last stands as tuned, too."""
    home = tmp_path_factory.mktemp("ledger")
    model, rows = small_model(0), []
    for step in (0, 50, 100):
        if step:
            teach(model, tokenizer)
        rows.append(save_step(home / f"run/models/step-{step:05d}", step, model, tokenizer))
    write_series(home / "run/models", "made", rows)
    write_series(home / "run/instruct/chat", "chat", rows[-1:])
    with DocumentWriter(home / "da.parquet") as writer:
        for number, text in enumerate(LEARNT):
            writer.write({"text": text, "source": "avis" if number < 30 else "wiki", "id": f"da:{number}"})
    write_jsonl(home / "en.jsonl", [{"text": text} for text in [*LOST, " "]])
    texts = {"da": str(home / "da.parquet"), "en": str(home / "en.jsonl")}
    section = {"texts": texts, "window": 16, "documents": 20, "batch_tokens": 100}
    write_recipe(home / "recipe.yaml", extends=SMALL, forgetting=section)
    return home


def ledger(home, *words):
    """The rows of the ledger by step, language, source and measure."""
    run_main(forgetting, home / "recipe.yaml", *words)
    rows = read_json(home / "run/analysis/forgetting.json")["rows"]
    return {(row["step"], row["language"], row["source"], row["measure"]): row for row in rows}


def test_what_was_taught_is_better_what_was_lost_is_worse_and_the_intervals_lie_apart(home):
    rows = ledger(home)
    assert {key[:3] for key in rows} == {
        (step, *pair) for step in (0, 50, 100) for pair in
        [("da", None), ("en", None), ("da", "avis"), ("da", "wiki"), ("en", "en")]
    }  # fmt: skip
    for step in (50, 100):
        better, worse = rows[step, "da", None, "change"], rows[step, "en", None, "change"]
        assert better["high"] < 0 < worse["low"] and better["against"] == "pretrained 0"
        assert rows[step, "da", None, "bits_per_byte"]["high"] < rows[0, "da", None, "bits_per_byte"]["low"]
        assert rows[step, "en", None, "bits_per_byte"]["low"] > rows[0, "en", None, "bits_per_byte"]["high"]
    base = rows[0, "da", None, "change"]
    assert base["value"] == base["low"] == base["high"] == 0
    assert [rows[100, "da", source, "change"]["documents"] for source in ("avis", "wiki", None)] == [20, 10, 30]
    text = (home / "run/analysis/forgetting/forgetting.md").read_text()
    assert (text.count(" better |"), text.count(" worse |")) == (2 + 2, 2 + 1)  # two steps, and the last one's sources


def test_bits_per_byte_are_those_of_a_plain_loop_over_the_models_logits(home, tokenizer):
    row = ledger(home)[100, "en", None, "bits_per_byte"]
    model = small_model(0).from_pretrained(home / "run/models/step-00100")
    chosen = [LOST[number * 40 // 20] for number in range(20)]
    nats = 0.0
    with torch.no_grad():
        for text in chosen:
            ids = tokenizer(text).input_ids  # <s> and 30 words; windows of 16 tokens that move by 8
            assert len(ids) == 31
            for place in range(1, len(ids)):
                begin = 0 if place < 16 else min(len(ids), 16 + 8 * math.ceil((place - 15) / 8)) - 16
                logits = model(torch.tensor([ids[begin:place]])).logits[0, -1].double()
                nats -= float(logits.log_softmax(-1)[ids[place]])
    size = sum(len(text.encode()) for text in chosen)
    assert row["bytes"] == size
    assert 2 ** (row["value"] * size / (30 * 20)) == pytest.approx(math.exp(nats / (30 * 20)), rel=1e-5)  # perplexity


def test_a_tuned_series_can_be_held_against_the_same_step_of_another(home):
    rows = ledger(home, "series=pretrained,chat", "against=pretrained")
    assert rows[100, "da", None, "change"]["series"] == "chat"
    assert all(row["value"] == 0 for key, row in rows.items() if key[3] == "change")  # the same model


def test_finished_steps_say_done_an_interrupted_one_is_made_again_and_other_texts_are_refused(home):
    before = ledger(home)
    step = home / "run/analysis/forgetting/pretrained/step-00050"
    (step / "run.json").unlink()
    assert run_main(forgetting, home / "recipe.yaml").count("done (") == 2 and ledger(home) == before
    with pytest.raises(BadInput, match="was made with window 16, now 8; add --overwrite"):
        ledger(home, "window=8")
    with pytest.raises(BadInput, match="forgetting.texts.en: .*empty.jsonl holds no text"):
        write_jsonl(home / "empty.jsonl", [{"text": " "}])
        ledger(home, f"texts.en={home / 'empty.jsonl'}", f"run_dir={home / 'run'}", "--overwrite", "steps=0")
    with pytest.raises(BadInput, match="forgetting.texts.en: .*number.jsonl, row 1: text should be text, got 5"):
        write_jsonl(home / "number.jsonl", [{"text": 5}])
        ledger(home, f"texts.en={home / 'number.jsonl'}", "--check")
    with pytest.raises(BadInput, match="gone.jsonl not found$"):
        ledger(home, f"texts.en={home / 'gone.jsonl'}")
    with pytest.raises(BadInput, match="instruct/previous/series.json not found: .*, or choose from pretrained, chat"):
        ledger(home, "against=previous", "window=9")
    assert ledger(home, "series=chat", "steps=100").keys() == before.keys()  # what was refused has lost nothing


def test_the_interval_of_a_change_is_the_pairs_not_the_spread_of_documents():
    rng = np.random.default_rng(0)
    sizes, spread = rng.integers(50, 150, 200), rng.uniform(1, 9, 200)

    def rows(shift):
        return [
            {"id": str(n), "language": "da", "source": "s", "bytes": int(size), "bits": float(size * (level + shift))}
            for n, (size, level) in enumerate(zip(sizes, spread, strict=True))
        ]

    value, change, *_ = gains.ledger_rows(rows(-0.01), rows(0), 1_000, 1)
    assert (change["value"], change["low"], change["high"]) == pytest.approx((-0.01, -0.01, -0.01), abs=1e-9)
    assert gains.verdict(change) == "better" and value["high"] - value["low"] > 0.3


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(1), 0
    for trial in range(200):
        bits, sizes = rng.normal(200, 60, 100), np.full(100, 100.0)
        numbers = gains.with_interval(bits, sizes, gains.resample(100, 400, trial))
        covered += numbers["low"] <= 2.0 <= numbers["high"]
    assert 0.88 <= covered / 200 <= 0.99
