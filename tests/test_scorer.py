"""The built-in scorer against a naive loop, hand-computed values and planted models: pytest tests/test_scorer.py"""

import math
import re
import sys

import numpy as np
import pytest
import torch
from builtin import main as score
from collect import main as collect
from conftest import TINY_LLAMA, WORDS, write_recipe
from scorer.metrics import accuracy, macro_f1, mcc, summarise
from scorer.tasks import read_items
from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

from snakmodel.config import BadInput
from snakmodel.documents import DocumentWriter
from snakmodel.likelihood import document_bits, encode, option_log_likelihoods, windows
from snakmodel.records import read_json, read_jsonl, write_json, write_jsonl
from snakmodel.series import write_series

QUESTIONS = [("", ["w3 w4 w5", "w4 w3 w5"]), ("w8 w9 w7 w8", [" w3", " w4 w5 w6", " w7 w8"]), ("w9", [" w5", " w3"])]
ROW = {"id": "a", "prompt": "w3", "options": [" w7", " w4"], "answer": 0, "split": "test"}
TURNED = ROW | {"options": [" w4", " w7"], "answer": 1}


def random_model():
    """A two-layer Llama whose predictions depend on all that came before."""
    torch.manual_seed(8446)
    return LlamaForCausalLM(AutoConfig.for_model(**TINY_LLAMA, vocab_size=WORDS, initializer_range=0.3)).eval()


MODEL = random_model()


@pytest.fixture
def words(word_tokenizer):
    return AutoTokenizer.from_pretrained(word_tokenizer)


@torch.no_grad()
def naive_sum(ids, first):
    """Sum of log p of the tokens from `first` on, each given all before it."""
    rows_V = [MODEL(torch.tensor([ids[:position]])).logits[0, -1].double() for position in range(first, len(ids))]
    return sum(float(row_V.log_softmax(-1)[token]) for row_V, token in zip(rows_V, ids[first:], strict=True))


@pytest.mark.parametrize("batch_tokens, sizes", [(1, [8, 7, 6, 4, 4, 3, 3]), (16, [16, 12, 12]), (100, [56])])
def test_option_sums_equal_a_loop_over_single_tokens_whatever_the_batches(words, batch_tokens, sizes):
    read = []
    hook = MODEL.register_forward_pre_hook(lambda *call: read.append(call[2]["input_ids"].numel()), with_kwargs=True)
    found = option_log_likelihoods(MODEL, words, QUESTIONS, batch_tokens)
    hook.remove()
    assert read == sizes
    for (prompt, options), sums in zip(QUESTIONS, found, strict=True):
        first = len(encode(words, [prompt])[0])
        naive = [naive_sum(ids, first) for ids in encode(words, [prompt + option for option in options])]
        assert sums == pytest.approx(naive, abs=1e-4)


def test_a_token_across_the_border_counts_for_every_option(words):
    (sums,) = option_log_likelihoods(MODEL, words, [("w3 w4", ["1", " w5"])], 64)  # w3 w41, or w3 w4 w5
    assert sums == pytest.approx([naive_sum([1, 3, 41], 2), naive_sum([1, 3, 4, 5], 2)], abs=1e-5)


def test_every_text_opens_with_exactly_one_bos(words):
    assert words("w3").input_ids == [1, 3], "the tokenizer adds one by itself"
    assert [ids.count(1) for ids in encode(words, ["w3", "", "<s>w3</s>"])] == [1, 1, 1]


@pytest.mark.parametrize("window", [4, 64])
def test_document_bits_equal_a_loop_over_each_window_and_bytes_are_utf8(words, window):
    texts = ["w3 w9 w3 w4 w5 w8 w7 w7 w4", "w3\N{EM SPACE}w4"]
    found = document_bits(MODEL, words, texts, window, batch_tokens=16)
    for ids, (bits, _) in zip(encode(words, texts), found, strict=True):
        naive = sum(naive_sum(ids[begin:end], first - begin) for begin, first, end in windows(len(ids), window))
        assert bits == pytest.approx(-naive / math.log(2), abs=1e-4)
    assert [size for _, size in found] == [26, 7]


@pytest.mark.parametrize("length, window", [(1, 8), (2, 8), (8, 8), (9, 8), (37, 8), (37, 7), (5, 2)])
def test_windows_score_each_token_once_with_half_a_window_of_context(length, window):
    spans = list(windows(length, window))
    assert [i for _, first, end in spans for i in range(first, end)] == list(range(1, length))
    assert all(end - begin <= window for begin, _, end in spans)
    assert all(first == 1 or first - begin >= window // 2 for begin, first, _ in spans)


def test_what_cannot_be_scored_is_refused(words):
    with pytest.raises(BadInput, match="66 tokens are more than the model's 64 positions"):
        option_log_likelihoods(MODEL, words, [("w3 " * 64, ["w4", "w5"])], 64)
    with pytest.raises(BadInput, match="no token for some of 'w3 hest'"):
        document_bits(MODEL, words, ["w3 hest"], 16, 64)
    broken = random_model()
    torch.nn.init.constant_(broken.lm_head.weight, math.nan)
    with pytest.raises(BadInput, match="not finite"):
        option_log_likelihoods(broken, words, QUESTIONS, 64)


def test_metrics_equal_hand_computed_values():
    answers, predicted = np.eye(3)[[0, 0, 1, 1, 2]], np.eye(3)[[0, 1, 1, 1, 0]]
    assert accuracy(answers, predicted) == pytest.approx(3 / 5)
    assert macro_f1(answers, predicted) == pytest.approx((1 / 2 + 4 / 5 + 0) / 3)
    assert macro_f1(answers[:4], predicted[:4]) == pytest.approx((2 / 3 + 4 / 5) / 2)  # the third class is not there
    assert mcc(answers, predicted) == pytest.approx((3 * 5 - 10) / math.sqrt((25 - 13) * (25 - 9)))
    assert mcc(answers, np.eye(3)[[1] * 5]) == 0


def test_summary_is_scandevals_arithmetic_beside_the_interval_of_the_score():
    total, interval = summarise([{"mcc": 0.5}, {"mcc": 0.6}, {"mcc": 0.7}], scale=100)
    assert total == pytest.approx({"test_mcc": 60, "test_mcc_se": 1.96 * 10 / math.sqrt(3)})
    assert interval["test_mcc"] == pytest.approx([60 - 19.6, 60 + 19.6])


@pytest.mark.parametrize("key, value", [("answer", 2), ("options", [" w7", " w7"]), ("options", [" w7", " "])])
def test_a_bad_task_row_is_one_line_with_its_number(tmp_path, key, value):
    write_jsonl(tmp_path / "t.jsonl", [ROW, ROW | {key: value}])
    with pytest.raises(BadInput, match=rf"^.*t.jsonl, line 2: {key} should be .*, got {re.escape(repr(value))}$"):
        read_items(tmp_path / "t.jsonl")


def write_models(models, words, steps):
    """A series whose step 0 prefers no word and whose later ones give w7 a logit of 3, whatever came before."""
    for step in steps:
        model = random_model()
        with torch.no_grad():
            for name, weight in model.named_parameters():  # nothing is added to the embedding, which is all ones
                weight.fill_(1 if "norm" in name or "embed" in name else 0)
            model.lm_head.weight[7] = (3 if step else 0) / model.config.hidden_size
        for part in (model, AutoTokenizer.from_pretrained(words)):
            part.save_pretrained(models / f"step-{step:05d}")
        write_json(models / f"step-{step:05d}/run.json", {"step": step})
    rows = [{"step": s, "location": str(models / f"step-{s:05d}"), "parent": None, "tokens": 32 * s} for s in steps]
    write_series(models, "planted", rows)


@pytest.fixture
def run(tmp_path, word_tokenizer, monkeypatch, capsys):
    """Runs a script's main() on a recipe with two steps, a text and two tasks; gives what it prints."""
    write_models(tmp_path / "run/models", word_tokenizer, [0, 50])
    with DocumentWriter(tmp_path / "da.parquet") as writer:
        writer.write({"text": "w7 w3 w7", "source": "x", "id": "x:00000000"})
    write_jsonl(tmp_path / "acceptability.jsonl", [ROW, ROW | {"options": [" w5", " w7", " w4"], "answer": 1}] * 10)
    sentiment = [ROW, TURNED] * 8 + [ROW | {"answer": 1}] * 4  # w7 is right 16 times and w4 4 times
    write_jsonl(tmp_path / "sentiment.jsonl", [*sentiment, ROW | {"split": "train"}])
    tasks = {name: str(tmp_path / f"{name}.jsonl") for name in ("acceptability", "sentiment")}
    builtin = {"held_out": {"da": str(tmp_path / "da.parquet")}, "tasks": tasks, "window": 8}
    recipe = write_recipe(tmp_path / "recipe.yaml", builtin=builtin, collect={})

    def run_main(main, *more):
        monkeypatch.setattr(sys, "argv", ["script", "--config", str(recipe), *more])
        main()
        return capsys.readouterr().out

    return run_main


def test_planted_models_score_what_is_known_of_them(run, tmp_path):
    assert "pretrained step-00000: held-out-da 2.47, tiny-acceptability " in run(score)
    run(collect)
    rows = read_json(tmp_path / "run/scores/scores.json")["rows"]
    assert all(row["primary"] for row in rows if row["chance"] is not None)
    values = {(row["step"], row["dataset"]): row for row in rows if row["primary"]}
    assert values[0, "held-out-da"]["value"] == pytest.approx(3 * math.log2(WORDS) / 8)
    bits = 3 * math.log2(WORDS - 1 + math.exp(3)) - 2 * 3 / math.log(2)  # two words of three have a logit of 3
    assert values[50, "held-out-da"]["value"] == pytest.approx(bits / 8)
    best = values[50, "tiny-acceptability"]
    assert [best[key] for key in ("value", "low", "high", "chance")] == pytest.approx([100, 100, 100, 250 / 6])
    assert (best["metric"], best["language"], best["tokens"], best["scorer"]) == ("accuracy", "da", 1600, "builtin")
    # F1 of expected counts: 8 of 16 right among 16 + 10, and 2 of 4 right among 4 + 10
    assert values[0, "tiny-sentiment"]["chance"] == pytest.approx(100 * (2 * 8 / 26 + 2 * 2 / 14) / 2)
    sentiment = read_jsonl(tmp_path / "run/records/builtin/pretrained/step-00050/records.jsonl")[-1]
    assert (sentiment["task"], len(sentiment["results"]["raw"]["test"])) == ("sentiment-classification", 10)


def test_more_steps_invalidate_nothing_and_an_interrupted_one_is_scored_again_alike(run, tmp_path, word_tokenizer):
    run(score)
    step = tmp_path / "run/records/builtin/pretrained/step-00050"
    before = {name: (step / name).read_bytes() for name in ("run.json", "records.jsonl")}
    write_models(tmp_path / "run/models", word_tokenizer, [0, 50, 100])
    assert run(score, "batch_tokens=64", "steps=50,100").count("done") == 1
    assert (step / "run.json").read_bytes() == before["run.json"]
    assert "21 scores of 3 steps" in run(collect) and "collect: done" in run(collect)
    (step / "run.json").unlink()
    assert f"left out, not finished or of another model: {step}" in run(collect)
    assert {row["step"] for row in read_json(tmp_path / "run/scores/scores.json")["rows"]} == {0, 100}
    assert run(score).count("done") == 2 and (step / "records.jsonl").read_bytes() == before["records.jsonl"]
    with pytest.raises(BadInput, match="seed 4242, now 1"):
        run(score, "seed=1")


def test_what_is_missing_or_misspelt_is_named(run):
    with pytest.raises(BadInput, match="should be one of acceptability, sentiment, knowledge, got 'sentimnet'"):
        run(score, "tasks.sentimnet=x.jsonl")
    with pytest.raises(BadInput, match="nowhere.parquet not found"):
        run(score, "held_out.da=nowhere.parquet")
    with pytest.raises(BadInput, match="run evaluate/builtin.py first"):
        run(collect)
