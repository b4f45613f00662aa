"""The built-in scorer against a naive loop, hand-computed values and planted models: pytest tests/test_scorer.py"""

import copy
import math
import re

import builtin
import collect
import pytest
import torch
from conftest import SMALL, WORDS, run_main, save_step, small_model, write_recipe
from scorer.metrics import class_scores, summarise

from snakmodel import testsets
from snakmodel.config import BadInput
from snakmodel.documents import DocumentWriter
from snakmodel.likelihood import document_bits, encode, option_log_likelihoods, windows
from snakmodel.multiple_choice import read_items
from snakmodel.prompts import set_format
from snakmodel.records import read_json, read_jsonl, write_jsonl
from snakmodel.series import write_series

QUESTIONS = [("", ["w3 w4 w5", "w4 w3 w5"]), ("w8 w9 w7 w8", [" w3", " w4 w5 w6", " w7 w8"]), ("w9", [" w5", " w3"])]
ROW = {"id": "a", "prompt": "w3", "options": [" w7", " w4"], "answer": 0, "split": "test"}
TURNED = ROW | {"options": [" w4", " w7"], "answer": 1}
MODEL = small_model(8446, initializer_range=0.3)  # its predictions depend on all that came before


@pytest.fixture
def tokenizer(tokenizer):
    """That of all tests, without its chat template: of a model that was not tuned."""
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    return plain


@torch.no_grad()
def naive_sum(ids, first):
    """Sum of log p of the tokens from `first` on, each given all before it."""
    rows_V = [MODEL(torch.tensor([ids[:position]])).logits[0, -1].double() for position in range(first, len(ids))]
    return sum(float(row_V.log_softmax(-1)[token]) for row_V, token in zip(rows_V, ids[first:], strict=True))


@pytest.mark.parametrize("batch_tokens, sizes", [(1, [8, 5, 2]), (16, [16, 2]), (100, [24])])
def test_option_sums_equal_a_loop_over_single_tokens_whatever_the_batches(tokenizer, batch_tokens, sizes):
    read = []
    hook = MODEL.register_forward_pre_hook(lambda *call: read.append(call[2]["input_ids"].numel()), with_kwargs=True)
    found = option_log_likelihoods(MODEL, tokenizer, QUESTIONS, batch_tokens)
    hook.remove()
    assert read == sizes
    for (prompt, options), sums in zip(QUESTIONS, found, strict=True):
        first = len(encode(tokenizer, [prompt])[0])
        naive = [naive_sum(ids, first) for ids in encode(tokenizer, [prompt + option for option in options])]
        assert sums == pytest.approx(naive, abs=1e-4)


def test_a_token_across_the_border_counts_for_every_option(tokenizer):
    (sums,) = option_log_likelihoods(MODEL, tokenizer, [("w3 w4", ["1", " w5"])], 64)  # w3 w41, or w3 w4 w5
    assert sums == pytest.approx([naive_sum([1, 3, 41], 2), naive_sum([1, 3, 4, 5], 2)], abs=1e-5)


def test_a_tuned_model_is_asked_in_the_format_that_its_tokenizer_carries(tokenizer):
    set_format(tokenizer, "chat")
    (sums,) = option_log_likelihoods(MODEL, tokenizer, [("w8 w9", [" w5", "w3 w4"])], 64)
    asked = [1, 0, 8, 9, 0]  # <s> [INST] w8 w9 [/INST], whose marks are unknown words to this tokenizer
    assert sums == pytest.approx([naive_sum([*asked, 5, 2], 5), naive_sum([*asked, 3, 4, 2], 5)], abs=1e-4)


def test_every_text_opens_with_exactly_one_bos(tokenizer):
    assert tokenizer("w3").input_ids == [1, 3], "the tokenizer adds one by itself"
    assert [ids.count(1) for ids in encode(tokenizer, ["w3", "", "<s>w3</s>"])] == [1, 1, 1]


@pytest.mark.parametrize("window", [4, 64])
def test_document_bits_equal_a_loop_over_each_window_and_bytes_are_utf8(tokenizer, window):
    texts = ["w3 w9 w3 w4 w5 w8 w7 w7 w4", "w3\N{EM SPACE}w4"]
    found = document_bits(MODEL, tokenizer, texts, window, batch_tokens=16)
    for ids, (bits, _) in zip(encode(tokenizer, texts), found, strict=True):
        naive = sum(naive_sum(ids[begin:end], first - begin) for begin, first, end in windows(len(ids), window))
        assert bits == pytest.approx(-naive / math.log(2), abs=1e-4)
    assert [size for _, size in found] == [26, 7]


@pytest.mark.parametrize("length, window", [(1, 8), (2, 8), (8, 8), (9, 8), (37, 8), (37, 7), (5, 2)])
def test_windows_score_each_token_once_with_half_a_window_of_context(length, window):
    spans = list(windows(length, window))
    assert [i for _, first, end in spans for i in range(first, end)] == list(range(1, length))
    assert all(end - begin <= window for begin, _, end in spans)
    assert all(first == 1 or first - begin >= window // 2 for begin, first, _ in spans)


def test_what_cannot_be_scored_is_refused(tokenizer):
    with pytest.raises(BadInput, match="66 tokens are more than the model's 64 positions"):
        option_log_likelihoods(MODEL, tokenizer, [("w3 " * 64, ["w4", "w5"])], 64)
    with pytest.raises(BadInput, match="no token for some of 'w3 hest'"):
        document_bits(MODEL, tokenizer, ["w3 hest"], 16, 64)
    broken = small_model(0)
    torch.nn.init.constant_(broken.lm_head.weight, math.nan)
    with pytest.raises(BadInput, match="not finite"):
        option_log_likelihoods(broken, tokenizer, QUESTIONS, 64)


def test_metrics_equal_hand_computed_values():
    answers, predicted = [0, 0, 1, 1, 2], [0, 1, 1, 1, 0]
    f1 = {5: (1 / 2 + 4 / 5 + 0) / 3, 4: (2 / 3 + 4 / 5) / 2}  # among the first four the third class is not there
    for count, expected in f1.items():
        assert class_scores(answers[:count], predicted[:count], ["macro_f1"])["macro_f1"] == pytest.approx(expected)
    scores = class_scores(answers, predicted, ["accuracy", "mcc"])
    assert scores["accuracy"] == pytest.approx(3 / 5)
    assert scores["mcc"] == pytest.approx((3 * 5 - 10) / math.sqrt((25 - 13) * (25 - 9)))
    assert class_scores(answers, [1] * 5, ["mcc"]) == {"mcc": 0}


def test_summary_is_scandevals_arithmetic_beside_the_interval_of_the_score():
    total, interval = summarise([{"mcc": 0.5}, {"mcc": 0.6}, {"mcc": 0.7}], scale=100)
    assert total == pytest.approx({"test_mcc": 60, "test_mcc_se": 1.96 * 10 / math.sqrt(3)})
    assert interval["test_mcc"] == pytest.approx([60 - 19.6, 60 + 19.6])


@pytest.mark.parametrize("key, value", [("answer", 2), ("options", [" w7", " w7"]), ("options", [" w7", " "])])
def test_a_bad_task_row_is_one_line_with_its_number(tmp_path, key, value):
    write_jsonl(tmp_path / "t.jsonl", [ROW, ROW | {key: value}])
    with pytest.raises(BadInput, match=rf"^.*t.jsonl, line 2: {key} should be .*, got {re.escape(repr(value))}$"):
        read_items(testsets.TestSet(str(tmp_path / "t.jsonl"), ["prompt"], "answer", "options"))


@pytest.fixture
def recipe(tmp_path, tokenizer):
    """A text, two tasks, and models: step 0 prefers no word, later ones give w7 a logit of 3, whatever came before."""
    rows, models = [], tmp_path / "run/models"
    for step in (0, 50, 100):
        model = small_model(0)
        with torch.no_grad():
            for name, weight in model.named_parameters():  # nothing is added to the embedding, which is all ones
                weight.fill_(1 if "norm" in name or "embed" in name else 0)
            model.lm_head.weight[7] = (3 if step else 0) / model.config.hidden_size
        rows.append(save_step(models / f"step-{step:05d}", step, model, tokenizer))
    write_series(models, "planted", rows)
    with DocumentWriter(tmp_path / "run/da.parquet") as writer:
        writer.write({"text": "w7 w3 w7", "source": "x", "id": "x:00000000"})
    acceptability = [ROW, ROW | {"options": [" w5", " w7", " w4"], "answer": 1}] * 10
    write_jsonl(tmp_path / "run/acceptability.jsonl", acceptability)
    sentiment = [ROW, TURNED] * 8 + [ROW | {"answer": 1}] * 4  # w7 is right 16 times and w4 4 times
    write_jsonl(tmp_path / "run/sentiment.jsonl", [*sentiment, ROW | {"split": "train"}])
    return write_recipe(tmp_path / "recipe.yaml", extends=SMALL)


def test_planted_models_score_what_is_known_of_them(recipe, tmp_path):
    assert "pretrained step-00000: held-out-da 2.47, tiny-acceptability " in run_main(builtin, recipe)
    run_main(collect, recipe)
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
    (sentiment,) = read_jsonl(tmp_path / "run/records/builtin/pretrained/step-00050/tiny-sentiment/records.jsonl")
    assert (sentiment["task"], len(sentiment["results"]["raw"]["test"])) == ("sentiment-classification", 10)


def test_more_steps_invalidate_nothing_and_an_interrupted_one_is_scored_again_alike(recipe, tmp_path):
    run_main(builtin, recipe, "steps=0,50")
    step = tmp_path / "run/records/builtin/pretrained/step-00050/tiny-sentiment"
    before = {name: (step / name).read_bytes() for name in ("run.json", "records.jsonl")}
    assert run_main(builtin, recipe, "batch_tokens=64", "steps=50,100").count("done") == 1
    assert (step / "run.json").read_bytes() == before["run.json"]
    assert "21 scores of 3 steps" in run_main(collect, recipe) and "collect: done" in run_main(collect, recipe)
    (step / "run.json").unlink()
    assert f"left out, not finished: {step}" in run_main(collect, recipe)
    rows = read_json(tmp_path / "run/scores/scores.json")["rows"]
    assert {row["step"] for row in rows if row["dataset"] == "tiny-sentiment"} == {0, 100}
    assert run_main(builtin, recipe).count("done") == 2
    assert (step / "records.jsonl").read_bytes() == before["records.jsonl"]
    assert run_main(builtin, recipe, "testsets=[tiny-sentiment]", "held_out={}").count("done") == 3
    with pytest.raises(BadInput, match="seed 4242, now 1"):
        run_main(builtin, recipe, "seed=1")
