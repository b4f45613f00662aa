"""Kinds of models and ways of tuning, and what a step learns: pytest tests/test_tuned_models.py"""

import json
from math import cos, pi

import pyarrow as pa
import pytest
import torch
from conftest import WORDS, run_main, small_model
from safetensors.torch import load_file
from test_finetune import EPOCHS, VARIANT, make_run, says
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune import merge, train
from snakmodel.documents import DocumentWriter
from snakmodel.prompts import set_format, training_ids
from snakmodel.records import read_json, read_jsonl
from snakmodel.series import read_series


@pytest.mark.parametrize(
    "made",
    [
        {"tie_word_embeddings": True},
        {"vocab_size": WORDS + 8},  # a vocabulary that was lengthened, with rows that no token has yet
    ],
)
def test_tied_and_lengthened_embeddings_are_tuned_and_merged(tokenizer, tmp_path, made):
    base = small_model(3, **made)
    recipe = make_run(tmp_path, tokenizer, {0: base}, epochs=EPOCHS, packing="isolated")
    run_main(train, recipe)
    run_main(merge, recipe)
    location = tmp_path / "run/instruct/all-r4-chat/step-00000"
    merged = AutoModelForCausalLM.from_pretrained(location)
    assert torch.equal(merged.model.embed_tokens.weight, base.model.embed_tokens.weight)
    assert not torch.equal(merged.lm_head.weight, base.lm_head.weight) and says(location) == 9
    assert merged.config.vocab_size == base.config.vocab_size and not merged.config.tie_word_embeddings


def test_in_bfloat16_adapters_stay_float32_and_other_ways_of_training_learn_too(tokenizer, tmp_path):
    recipe = make_run(
        tmp_path, tokenizer, {0: small_model(3)}, packing="plain", loss_on="all", epochs=EPOCHS, keep="10"
    )
    options = [
        "precision=bfloat16",
        "activation_checkpointing=true",
        "schedule=cosine",
        "warmup_steps=4",
        "log_every=1",
    ]
    run_main(train, recipe, *options)
    run_main(merge, recipe, "dtype=bfloat16", "kept_of=0")
    folder = tmp_path / VARIANT / "step-00000"
    assert read_json(folder / "run.json")["examples"] == 62  # conversations, not pieces of the stream
    adapter = load_file(folder / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in adapter.values()} == {torch.float32}
    rows = read_jsonl(folder / "log.jsonl")
    steps = len(rows)
    rates = [0.01 * min(n / 4, (1 + cos(pi * (n - 4) / (steps - 4))) / 2) for n in range(steps)]
    assert [row["learning_rate"] for row in rows] == pytest.approx(rates) and rows[-1]["loss"] < rows[0]["loss"]
    kept = read_series(tmp_path / "run/instruct/all-r4-chat@0")
    assert [c.step for c in kept] == [0, *range(10, steps, 10), steps]
    merged = read_json(tmp_path / "run/instruct/all-r4-chat/step-00000/run.json")
    assert 0 < merged["unchanged"]["all"] < 1 and merged["tensors"]["lm_head.weight"]["dtype"] == "BF16"


def test_all_weights_can_be_tuned_and_become_a_series_too(tokenizer, tmp_path):
    recipe = make_run(tmp_path, tokenizer, {0: small_model(3)}, method="full", epochs=EPOCHS, variant="full")
    run_main(train, recipe)
    assert "a whole model, whose logits differ" in run_main(merge, recipe, "variant=full", "dtype=bfloat16")
    (step,) = read_series(tmp_path / "run/instruct/full")
    assert step.location == str(tmp_path / "run/instruct/full/step-00000") and says(step.location) == 9
    record = read_json(tmp_path / "run/instruct/full/step-00000/run.json")
    assert record["tensors"]["lm_head.weight"]["dtype"] == "BF16" and 0 < record["unchanged"]["all"] < 1


def test_the_loss_and_gradient_of_a_step_are_those_of_single_conversations(tokenizer, tmp_path):
    """Through the script, as it trains: all weights, packed, one step, the answers different."""
    recipe = make_run(tmp_path, tokenizer, {0: small_model(3)}, method="full", packing="isolated", epochs=1)
    contents = [(f"w{20 + n} w7", f"w{40 + n}" + " w8" * (n % 5)) for n in range(12)]
    with DocumentWriter(tmp_path / "run/instruct/data/train.parquet", {"turns": pa.string()}) as out:
        for number, pair in enumerate(contents):
            turns = json.dumps([{"role": r, "content": t} for r, t in zip(("user", "assistant"), pair, strict=True)])
            out.write({"text": "", "source": "made", "id": f"made:{number}", "turns": turns})
    said = run_main(
        train, recipe, "variant=one", "log_every=1", "global_batch=8", "micro_batch=4", "sequence_length=32"
    )
    assert ", 1 steps" in said and "1.00 examples a row" not in said
    set_format(tokenizer := AutoTokenizer.from_pretrained(tokenizer.name_or_path), "chat")
    model, losses = small_model(3), []
    for question, answer in contents:
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        ids, labels = training_ids(tokenizer, turns)
        log_p_TV = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        losses += [-log_p_TV[place - 1, label] for place, label in enumerate(labels) if label != -100]
    loss = sum(losses) / len(losses)
    loss.backward()
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    (row,) = read_jsonl(tmp_path / "run/instruct/adapters/one/step-00000/log.jsonl")
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-5) and row["learnt_tokens"] == len(losses)
    assert row["grad_norm"] == pytest.approx(norm.item(), rel=1e-5)
