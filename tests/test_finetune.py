"""Tuning and merging: pytest tests/test_finetune.py"""

import pytest
import torch
from conftest import SMALL, copy_run, kill_when, save_step, small_model, succeed, write_recipe
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune.merge import compare
from snakmodel.config import BadInput
from snakmodel.prompts import NotLearnable, prompt_ids, training_ids
from snakmodel.records import read_json, write_jsonl
from snakmodel.series import read_series, write_series

ADAPTER = "run/instruct/adapters/all-r4-chat/step-00004/adapter_model.safetensors"
FOLDERS = ("data", "adapters/all-r4-chat/step-00000", "all-r4-chat/step-00000")  # of one step, as stages write them


def test_the_chat_format_is_llama_2s_to_the_byte(tokenizer):
    def render(*turns, **options):
        messages = [{"role": role, "content": text} for role, text in turns]
        return tokenizer.apply_chat_template(messages, tokenize=False, **options)

    assert render(("user", "Hvor?"), add_generation_prompt=True) == "<s>[INST] Hvor? [/INST]"
    assert render(("user", "Hvor?"), ("assistant", "Her.")) == "<s>[INST] Hvor? [/INST] Her.</s>"
    dialogue = render(("system", "Du er."), ("user", "a"), ("assistant", "b"), ("user", "c"))
    assert dialogue == "<s>[INST] <<SYS>>\nDu er.\n<</SYS>>\n\na [/INST] b</s><s>[INST] c [/INST]"
    with pytest.raises(Exception, match="alternate"):
        render(("user", "a"), ("user", "b"))


def test_the_loss_covers_the_answer_and_the_end_of_text_and_nothing_else(tokenizer):
    question, answer = {"role": "user", "content": "w5 w6"}, {"role": "assistant", "content": "w7 w8"}
    whole, labels = training_ids(tokenizer, [question, answer])
    assert [i for i in labels if i != -100] == [7, 8, 2]
    assert whole[0] == 1 and whole.count(1) == 1 and len(labels) == len(whole)
    with pytest.raises(NotLearnable, match="spells out special tokens"):
        training_ids(tokenizer, [question, {**answer, "content": "w7 <s> w8"}])


def test_a_merge_unlike_its_adapter_or_like_its_base_is_refused():
    torch.manual_seed(0)
    base, change = torch.randn(40, 9), torch.randn(40, 9)
    tuned = base + change
    assert compare(base, tuned, tuned.clone(), 1e-3, "x")["adapter_difference"] == 0
    for adapter, merged, message in (
        (tuned, base + 2 * change, "standard deviations from the adapter's"),  # a wrong scale
        (base, base, "equals its base"),  # a merge that did nothing
        (tuned, tuned * float("nan"), "nan"),
    ):
        with pytest.raises(BadInput, match=message):
            compare(base, adapter, merged, 1e-3, "x")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, tokenizer):
    """The recipe of a run with steps 0 and 4, tuned and merged on planted questions, whose answer is always w9."""
    folder = tmp_path_factory.mktemp("tuned")
    models = folder / "run/models"
    other = AutoTokenizer.from_pretrained(tokenizer.name_or_path, chat_template="another")
    rows = [save_step(models / f"step-{step:05d}", step, small_model(step), other) for step in (0, 4)]
    write_series(models, "made", rows)
    lines = [{"instruction": f"w{n}", "input": "", "output": "w9"} for n in range(10, 90)]
    lines += [{**lines[0], "output": ""}, {**lines[0], "instruction": "w5 " * 60}]
    write_jsonl(folder / "run/set.jsonl", lines)
    recipe = write_recipe(folder / "recipe.yaml", extends=SMALL)
    succeed("finetune/instructions.py", "--config", recipe)
    assert ">>>w9</s><<<" in succeed("finetune/train.py", "--config", recipe).replace(" ", "")
    succeed("finetune/merge.py", "--config", recipe)
    return recipe


def test_every_step_is_tuned_with_lm_head_and_knows_what_the_instructions_say(tuned):
    series = read_series(tuned.parent / "run/instruct/all-r4-chat")
    assert [c.step for c in series] == [0, 4]
    for checkpoint in series:
        model = AutoModelForCausalLM.from_pretrained(checkpoint.location)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.location)
        ids = prompt_ids(tokenizer, [{"role": "user", "content": "w20"}])
        assert int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()) == 9
    names = load_file(tuned.parent / ADAPTER)
    assert any("lm_head" in name for name in names) and all("lora_" in name for name in names)
    data, tuned_from, merged = (read_json(tuned.parent / f"run/instruct/{name}/run.json") for name in FOLDERS)
    assert data["counts"]["made"] == {"seen": 82, "kept": 81, "dropped": {"empty question or answer": 1}}
    assert tuned_from["examples"] == 81 and tuned_from["dropped"]["longer than sequence_length"] == 1
    assert merged["written_difference"] < 1e-3 < merged["base_difference"]


def test_tuning_killed_half_way_ends_with_the_same_adapter(tuned, tmp_path):
    command = ["finetune/train.py", *copy_run(tuned, tmp_path, "models", "instruct/data"), "steps=4"]
    states = (tmp_path / ADAPTER).parent / "trainer"
    kill_when((states / "checkpoint-8/trainer_state.json").exists, *command)
    assert "finetune step-00004: loss" in succeed(*command)  # it had not been finished
    expected = load_file(tuned.parent / ADAPTER)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load_file(tmp_path / ADAPTER).items())
    assert not states.exists()
