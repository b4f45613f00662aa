"""Tuning and merging by their scripts: pytest tests/test_finetune.py"""

import json
import os
import shutil
import subprocess
import sys

import pyarrow as pa
import pytest
import torch
from conftest import ROOT, SMALL, WORDS, copy_run, kill_when, run_main, save_step, small_model
from conftest import write_recipe as write
from peft.tuners.tuners_utils import BaseTuner
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from finetune import merge, train
from finetune.variant import one_device
from snakmodel.config import BadInput
from snakmodel.documents import DocumentWriter
from snakmodel.hashes import file_hash
from snakmodel.prompts import prompt_ids
from snakmodel.records import only_one, read_json, read_jsonl
from snakmodel.series import read_series, write_series

VARIANT = "run/instruct/adapters/all-r4-chat"
ADAPTER = f"{VARIANT}/step-00004/adapter_model.safetensors"
EPOCHS = 6


def write_conversations(folder, count, held_out, longest=1):
    """The instructions' folder of a run: questions w10, w11, ..., whose answer is w9, once or several times."""
    for file, begin, end in (("train", 0, count), ("validation", count, count + held_out)):
        with DocumentWriter(folder / f"{file}.parquet", {"turns": pa.string()}) as out:
            for number in range(begin, end):
                answer = " ".join(["w9"] * (1 + number % longest))
                pair = ("user", f"w{10 + number % 80} w{10 + number % 7}"), ("assistant", answer)
                turns = json.dumps([{"role": role, "content": text} for role, text in pair])
                out.write({"text": "", "source": "made", "id": f"made:{number}", "turns": turns})
    (folder / "run.json").write_text("{}")


def make_run(folder, tokenizer, models, **settings):
    """A run whose series has these models, by step, and 62 conversations; its recipe."""
    rows = [save_step(folder / f"run/models/step-{n:05d}", n, model, tokenizer) for n, model in models.items()]
    write_series(folder / "run/models", "made", rows)
    write_conversations(folder / "run/instruct/data", 62, 8)
    return write(folder / "recipe.yaml", extends=SMALL, finetune=settings)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, tokenizer):
    """The recipe of a run with steps 0 and 4, both tuned with their epochs kept, and merged."""
    folder = tmp_path_factory.mktemp("tuned")
    other = AutoTokenizer.from_pretrained(tokenizer.name_or_path, chat_template="another")
    settings = {"packing": "isolated", "epochs": EPOCHS, "keep": "epoch", "validate_every": 8}
    recipe = make_run(folder, other, {step: small_model(step) for step in (0, 4)}, **settings)
    said = run_main(train, recipe)
    assert ">>>w9</s><<<" in said.replace(" ", "") and "examples a row" in said
    assert "8 of 8 greedy answers the same" in run_main(merge, recipe, "kept_of=4")
    return recipe


def says(location, question="w20 w12"):
    """The token that a model answers with first, prompted by its own tokenizer."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(location), AutoTokenizer.from_pretrained(location)
    ids = prompt_ids(tokenizer, [{"role": "user", "content": question}])
    return int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())


def test_every_step_is_tuned_with_lm_head_and_knows_what_the_instructions_say(tuned):
    run = tuned.parent / "run"
    series = read_series(run / "instruct/all-r4-chat")
    assert [c.step for c in series] == [0, 4] and [says(c.location) for c in series] == [9, 9]
    assert [c.row["parent"] for c in series] == [c.location for c in read_series(run / "models")]
    names = load_file(tuned.parent / ADAPTER)
    assert any("lm_head" in name for name in names) and all("lora_" in name for name in names)
    record = read_json(run / "instruct/all-r4-chat/step-00004/run.json")
    assert record["written_difference"] < 1e-3 < record["base_difference"]
    assert record["same_text"] == record["same_text_written"] == 8 and record["unchanged"]["all"] < 0.01


def test_the_log_tells_losses_tokens_and_epochs(tuned):
    first, *rows = read_jsonl((tuned.parent / ADAPTER).with_name("log.jsonl"))
    record = read_json((tuned.parent / ADAPTER).with_name("run.json"))
    last = rows[-1]
    assert first["held_out_loss"] > 3 > 0.5 > last["held_out_loss"] and last["loss"] < rows[0]["loss"]
    assert last["epoch"] == EPOCHS and last["step"] == record["optimiser_steps"]
    # each of 62 conversations has seven tokens, of which the answer and its end are learnt
    assert (last["tokens"], last["learnt_tokens"]) == (EPOCHS * 62 * 7, EPOCHS * 62 * 2)
    assert {"learning_rate", "grad_norm", "tokens_per_second"} <= last.keys() and record["examples"] == 62


def test_the_kept_adapters_of_a_step_are_a_series_over_epochs(tuned):
    folder = tuned.parent / "run/instruct/all-r4-chat@4"
    series = read_series(folder)
    assert read_json(folder / "series.json")["axis"] == "epochs"
    assert [c.step for c in series] == list(range(EPOCHS + 1))
    assert series[0].location == read_series(tuned.parent / "run/models")[1].location
    last, final = (
        load_file(f"{path}/model.safetensors") for path in (series[-1].location, f"{folder}/../all-r4-chat/step-00004")
    )
    assert all(torch.equal(last[name], final[name]) for name in final)
    assert says(series[0].location) != 9 == says(series[-1].location)


def adapters(folder):
    """Hash of every adapter of step 4, with those that were kept on the way."""
    step = folder / VARIANT / "step-00004"
    return {str(path.relative_to(step)): file_hash(path) for path in step.rglob("adapter_model.safetensors")}


def test_tuning_killed_half_way_ends_with_the_same_adapters(tuned, tmp_path):
    words = [*copy_run(tuned, tmp_path, "models", "instruct/data"), "steps=4"]
    states = tmp_path / VARIANT / "step-00004/trainer"
    kill_when((states / "checkpoint-8/trainer_state.json").exists, "finetune/train.py", *words)
    assert not (tmp_path / VARIANT / "step-00004/run.json").exists()
    # as if it had been killed later: after keeping an adapter, before the next state
    (tmp_path / VARIANT / f"step-00004/kept/step-{EPOCHS:05d}").mkdir(parents=True, exist_ok=True)
    assert "step-00004: loss" in run_main(train, *words[1:])
    assert adapters(tmp_path) == adapters(tuned.parent) and len(adapters(tmp_path)) == 1 + EPOCHS
    steps = [
        [row["step"] for row in read_jsonl(f / VARIANT / "step-00004/log.jsonl")] for f in (tmp_path, tuned.parent)
    ]
    assert steps[0] == steps[1] and not states.exists()
    assert "step-00004: done" in run_main(train, *words[1:])


def test_two_ranks_learn_what_one_learns(tuned, tmp_path):
    words = [
        *copy_run(tuned, tmp_path, "models", "instruct/data")[1:],
        "steps=4",
        "dropout=0",
        "log_every=1",
        "epochs=2",
    ]
    words += ["micro_batch=2", "global_batch=12"]
    write_conversations(tmp_path / "run/instruct/data", 62, 8, longest=9)  # so that ranks have unlike numbers of tokens
    run_main(train, *words, "variant=of-1")
    # as torchrun starts them; it would itself take as long as they do
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20_000 + os.getpid() % 20_000)}
    command = [sys.executable, "finetune/train.py", "--config", *map(str, words), "variant=of-2"]
    ranks = [
        subprocess.Popen(command, cwd=ROOT, env=os.environ | meeting | {"RANK": str(n), "LOCAL_RANK": str(n)})
        for n in range(2)
    ]
    assert [rank.wait() for rank in ranks] == [0, 0]
    folders = [tmp_path / f"run/instruct/adapters/of-{count}/step-00004" for count in (1, 2)]
    one, two = (
        [row[key] for row in read_jsonl(f / "log.jsonl") for key in ("loss", "held_out_loss") if key in row]
        for f in folders
    )
    assert len(one) > 4 and two == pytest.approx(one, abs=1e-5)
    weights = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-4) for name in weights[0])


def test_models_beside_the_series_are_tuned_and_merged_too_each_process_its_share(tuned, tmp_path):
    words = copy_run(tuned, tmp_path, "models", "instruct/data")[1:]
    save_step(
        tmp_path / "other", 0, small_model(7), AutoTokenizer.from_pretrained(tuned.parent / "run/models/step-00000")
    )
    words += (f"finetune.also_tune.chat={tmp_path / 'other'}", "finetune.epochs=1", "variant=v")
    for part in ("1/2", "2/2"):
        run_main(train, *words, f"part={part}")
    made = sorted(str(path.parent.relative_to(tmp_path / "run")) for path in tmp_path.rglob("adapters/*/*/run.json"))
    assert made == [f"instruct/adapters/{name}" for name in ("v+chat/step-00000", "v/step-00000", "v/step-00004")]
    run_main(merge, *words)
    (other,) = read_series(tmp_path / "run/instruct/v+chat")
    assert other.row["parent"] == str(tmp_path / "other") and other.row["tokens"] is None


def test_two_processes_do_not_tune_the_same_step_at_once(tuned):
    folder = (tuned.parent / ADAPTER).parent
    with only_one(folder), pytest.raises(BadInput, match="step-00004: another process is at work there; wait for it"):
        run_main(train, tuned, "steps=4")


def test_other_architectures_are_told_what_they_have_and_tuned_on_that(tokenizer, tmp_path):
    torch.manual_seed(0)
    sizes = {"vocab_size": WORDS, "n_positions": 64, "n_embd": 16, "n_layer": 2, "n_head": 2}
    recipe = make_run(tmp_path, tokenizer, {0: GPT2LMHeadModel(GPT2Config(**sizes)).eval()}, epochs=1)
    with pytest.raises(BadInput, match="has no q_proj, k_proj,.*up_proj, down_proj; its matrices are wte, wpe, c_attn"):
        run_main(train, recipe)
    run_main(train, recipe, "targets=c_attn,c_proj,c_fc")
    assert "logits differ" in run_main(merge, recipe)  # its matrices lie the other way round


@pytest.mark.parametrize(
    "words, message",
    [
        (["global_batch=10"], "global_batch 10 is not a multiple of micro_batch 4 x 1 ranks; try 12"),
        (["variant=a/b"], "'a/b' cannot be a folder's name"),
        (["variant=data"], "'data' cannot be a folder's name"),
        (["keep=often"], "keep should be last, epoch or a number of optimiser steps, got 'often'"),
        (["keep=epoch", "epochs=0.5"], "keep: epoch keeps nothing of 0.5 epochs"),
        (["part=3/2"], "part should be like 1/4 ... 4/4, got '3/2'"),
        (["sequence_length=65", "variant=x"], "sequence_length 65 is more than the model's 64 positions"),
        (["sequence_length=8", "variant=x", "method=qlora"], "qlora needs a CUDA device, there is none; take lora"),
        (["sequence_length=8", "variant=x", "format=own"], "finetune.format own: .* it would never stop"),
        (["epochs=3"], "was made with epochs 6.0, now 3.0; add --overwrite"),
    ],
)
def test_a_mistake_is_one_line_with_both_values_and_the_cure(tuned, words, message):
    if "method=qlora" in words and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(BadInput, match=message.replace("...", r"\.\.\.")):
        run_main(train, tuned, *words)


def merges_nothing(adapter, merge):
    return adapter.unload()


def merges_twice_as_much(adapter, merge):
    base, merged = small_model(4).state_dict(), merge(adapter)
    for name, weight in merged.named_parameters():
        weight.data += weight.data - base[name]
    return merged


def swaps_two_layers(adapter, merge):
    merged = merge(adapter)
    first, second = (layer.mlp.up_proj.weight for layer in merged.model.layers)
    first.data, second.data = second.data, first.data
    return merged


@pytest.mark.parametrize(
    "fault, matrix", [(merges_nothing, ".*"), (merges_twice_as_much, ".*"), (swaps_two_layers, ".*up_proj")]
)
def test_a_merge_that_goes_wrong_is_refused_by_the_script_and_nothing_is_written(
    tuned, tmp_path, monkeypatch, fault, matrix
):
    words = copy_run(tuned, tmp_path, "models", "instruct/data", "instruct/adapters")
    shutil.rmtree(tmp_path / VARIANT / "step-00000")
    right = BaseTuner.merge_and_unload
    monkeypatch.setattr(BaseTuner, "merge_and_unload", lambda adapter, *_, **__: fault(adapter, right))
    with pytest.raises(BadInput, match=rf"step-00004: {matrix}.weight is not the base's plus alpha/rank B A: off by"):
        run_main(merge, *words[1:])
    assert not list((tmp_path / "run/instruct/all-r4-chat").glob("**/*.safetensors"))


def test_held_out_losses_are_not_promised_where_nothing_is_held_out(tokenizer, tmp_path):
    recipe = make_run(tmp_path, tokenizer, {0: small_model(3)}, validate_every=4)
    write_conversations(tmp_path / "run/instruct/data", 62, 0)
    with pytest.raises(BadInput, match="validate_every 4, but .* holds no conversation .* set instructions.validation"):
        run_main(train, recipe)


def test_a_process_by_itself_takes_the_first_of_the_gpus_that_it_was_given(monkeypatch):
    for given, taken in (("2,3", "2"), ("", ""), (None, "0")):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if given is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        one_device()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == taken


def test_an_adapter_whose_base_has_changed_is_not_merged(tuned, tmp_path):
    words = copy_run(tuned, tmp_path, "models", "instruct")
    record = tmp_path / "run/instruct/adapters/all-r4-chat/step-00004/run.json"
    told = read_json(record)
    told["inputs"]["model"] = {"path": "gone", "hash": "0"}
    record.write_text(json.dumps(told))
    with pytest.raises(BadInput, match="was tuned on gone, which has changed since, or is not there; tune it again"):
        run_main(merge, *words[1:])
