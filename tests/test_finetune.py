"""Tuning and merging: pytest tests/test_finetune.py"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT, TINY_LLAMA, WORDS, script, write_recipe
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from finetune.merge import compare
from snakmodel.config import BadInput
from snakmodel.prompts import CHAT_TEMPLATE, answer_labels, chat_ids
from snakmodel.records import read_json
from snakmodel.series import read_series, write_series

FOLDERS = ("data", "adapters/all-r4-chat/step-00000", "all-r4-chat/step-00000")  # of one step, as stages write them


@pytest.fixture
def tokenizer(word_tokenizer: Path) -> object:
    tokenizer = AutoTokenizer.from_pretrained(word_tokenizer)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def test_the_chat_format_is_llama_2s_to_the_byte(tokenizer: object) -> None:
    def render(*turns: tuple[str, str], **options: bool) -> str:
        messages = [{"role": role, "content": text} for role, text in turns]
        return tokenizer.apply_chat_template(messages, tokenize=False, **options)  # type: ignore[attr-defined]

    assert render(("user", "Hvor?"), add_generation_prompt=True) == "<s>[INST] Hvor? [/INST]"
    assert render(("user", "Hvor?"), ("assistant", "Her.")) == "<s>[INST] Hvor? [/INST] Her.</s>"
    dialogue = render(("system", "Du er."), ("user", "a"), ("assistant", "b"), ("user", "c"))
    assert dialogue == "<s>[INST] <<SYS>>\nDu er.\n<</SYS>>\n\na [/INST] b</s><s>[INST] c [/INST]"
    with pytest.raises(Exception, match="alternate"):
        render(("user", "a"), ("user", "b"))


def test_the_loss_covers_the_answer_and_the_end_of_text_and_nothing_else(tokenizer: object) -> None:
    prompt, whole = chat_ids(tokenizer, "w5 w6"), chat_ids(tokenizer, "w5 w6", "w7 w8")
    labels = answer_labels(prompt, whole)
    assert [i for i in labels if i != -100] == [7, 8, 2]
    assert whole[0] == 1 and whole.count(1) == 1 and len(labels) == len(whole)
    with pytest.raises(ValueError, match="changed the prompt"):
        answer_labels([1, 5], [1, 6, 7])


def test_a_merge_unlike_its_adapter_or_like_its_base_is_refused() -> None:
    torch.manual_seed(0)
    base, change = torch.randn(40, 9), torch.randn(40, 9)
    adapter = base + change
    assert compare(base, adapter, adapter.clone(), 1e-3, "x")["adapter_difference"] == 0
    with pytest.raises(BadInput, match="standard deviations from the adapter's"):
        compare(base, adapter, base + 2 * change, 1e-3, "x")  # a wrong scale
    with pytest.raises(BadInput, match="equals its base"):
        compare(base, base, base, 1e-3, "x")  # a merge that did nothing
    with pytest.raises(BadInput, match="nan"):
        compare(base, adapter, adapter * float("nan"), 1e-3, "x")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, word_tokenizer: Path) -> Path:
    """The recipe of a run with steps 0 and 4, tuned and merged on planted questions, whose answer is always w9."""
    folder = tmp_path_factory.mktemp("tuned")
    models = folder / "run/models"
    for step in (0, 4):
        torch.manual_seed(step)
        config = AutoConfig.for_model(**TINY_LLAMA, vocab_size=WORDS, bos_token_id=1, eos_token_id=2, pad_token_id=None)
        path = models / f"step-{step:05d}"
        AutoModelForCausalLM.from_config(config).save_pretrained(path)
        AutoTokenizer.from_pretrained(word_tokenizer).save_pretrained(path)
        (path / "run.json").write_text("{}")
    rows = [{"step": s, "location": models / f"step-{s:05d}", "tokens": s, "parent": None} for s in (0, 4)]
    write_series(models, "made", rows)
    lines = [{"instruction": f"w{n}", "input": "", "output": "w9"} for n in range(10, 90)]
    made = {"path": str(folder / "set.jsonl"), "prompt": ["instruction", "input"], "answer": "output"}
    lines += [{**lines[0], "output": ""}, {**lines[0], "instruction": "w5 " * 60}]
    (folder / "set.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sizes = {"rank": 4, "micro_batch": 4, "accumulation": 2, "epochs": 12, "save_every": 4, "sequence_length": 32}
    recipe = write_recipe(
        folder / "recipe.yaml",
        instructions={"sets": {"made": made}, "identity": [["w3", "w4"]]},
        finetune={"variant": "all-r4-chat", "learning_rate": 0.01, **sizes},
        merge={"variant": "all-r4-chat"},
    )
    for name in ("instructions", "train", "merge"):
        done = script(f"finetune/{name}.py", "--config", recipe)
        assert done.returncode == 0, done.stderr
        if name == "train":
            assert ">>>w9</s><<<" in done.stdout.replace(" ", "")
    return recipe


def test_every_step_is_tuned_with_lm_head_and_knows_what_the_instructions_say(tuned: Path) -> None:
    run = tuned.parent / "run"
    series = read_series(run / "instruct/all-r4-chat")
    assert [c.step for c in series] == [0, 4]
    for checkpoint in series:
        model = AutoModelForCausalLM.from_pretrained(checkpoint.location)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.location)
        ids = chat_ids(tokenizer, "w20")
        assert tokenizer.chat_template == CHAT_TEMPLATE
        assert int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()) == 9
    names = load_file(run / "instruct/adapters/all-r4-chat/step-00004/adapter_model.safetensors")
    assert any("lm_head" in name for name in names) and all("lora_" in name for name in names)
    data, tuned_from, merged = (read_json(run / f"instruct/{name}/run.json") for name in FOLDERS)
    assert data["counts"]["made"] == {"seen": 82, "kept": 81, "dropped": {"empty question or answer": 1}}
    assert tuned_from["examples"] == 81 and tuned_from["dropped"]["longer than sequence_length"] == 1
    assert merged["written_difference"] < 1e-3 < merged["base_difference"]


def test_tuning_killed_half_way_ends_with_the_same_adapter(tuned: Path, tmp_path: Path) -> None:
    run = tuned.parent / "run"
    for part in ("models", "instruct/data"):
        shutil.copytree(run / part, tmp_path / "run" / part)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(tuned.read_text().replace(str(tuned.parent / "run"), str(tmp_path / "run")))
    command = [sys.executable, "finetune/train.py", "--config", str(recipe), "steps=4"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = tmp_path / "run/instruct/adapters/all-r4-chat/step-00004"
    while not (folder / "trainer/checkpoint-8/trainer_state.json").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (folder / "run.json").exists(), "it was too quick to be killed"
    assert script(*command[1:]).returncode == 0
    name = "adapters/all-r4-chat/step-00004/adapter_model.safetensors"
    expected = load_file(run / "instruct" / name)
    assert all(torch.equal(t, expected[n]) for n, t in load_file(tmp_path / "run/instruct" / name).items())
    assert not (folder / "trainer").exists()


@pytest.mark.parametrize(
    ("stage", "override", "expected"),
    [
        ("train", "steps=0,3", "no checkpoint of step 3; the series has 0, 4"),
        ("train", "steps=0-4", "'0-4' is no step"),
        ("train", "variant=data", "cannot be a folder's name"),
        ("merge", "variant=other", "step-*/run.json not found: run finetune/train.py first"),
        ("instructions", "sets.made.answer=svar run_dir={folder}", "set made has no column 'svar'"),
    ],
)
def test_wrong_tuning_input_is_one_line(tuned: Path, tmp_path: Path, stage: str, override: str, expected: str) -> None:
    done = script(f"finetune/{stage}.py", "--config", tuned, *override.format(folder=tmp_path).split())
    assert done.returncode == 2 and expected in done.stderr and len(done.stderr.splitlines()) == 1
