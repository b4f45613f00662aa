"""Preference tuning: pytest tests/test_preferences.py"""

import json
from math import log

import pytest
import torch
from conftest import SMALL, copy_run, kill_when, run_main, save_step, small_model, write_recipe
from safetensors.torch import load_file
from test_finetune import write_conversations
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune import merge, preferences
from finetune.adapters import lora
from finetune.conversations import NotAConversation
from finetune.pairs import PreferenceSet, pair_ids, pair_of, read_pairs
from snakmodel.config import BadInput
from snakmodel.hashes import file_hash
from snakmodel.prompts import prompt_ids
from snakmodel.records import read_json, read_jsonl, write_jsonl
from snakmodel.series import read_series, write_series

ADAPTER = "run/instruct/adapters/polite/step-00004/adapter_model.safetensors"
QUESTION = [{"role": "user", "content": "w10 w11"}]
ANSWERS = [{"role": "assistant", "content": "w9"}], [{"role": "assistant", "content": "w8"}]
TEXTS = PreferenceSet("made.jsonl", prompt="asked")
DIALOGUES = PreferenceSet("made.jsonl")


def transcript(question, answer):
    return f"\n\nHuman: {question}\n\nAssistant: {answer}"


@pytest.mark.parametrize(
    "columns, asked, chosen, rejected",
    [
        (TEXTS, "w10 w11", "w9", "w8 "),
        (TEXTS, QUESTION, *ANSWERS),
        (TEXTS, QUESTION, "w9", "w8"),
        (DIALOGUES, None, *([*QUESTION, *answer] for answer in ANSWERS)),
        (DIALOGUES, None, *(json.dumps([*QUESTION, *answer]) for answer in ANSWERS)),
        (DIALOGUES, None, transcript("w10 w11", "w9"), transcript("w10 w11", "w8")),
    ],
)
def test_every_way_to_write_a_pair_means_the_same(columns, asked, chosen, rejected):
    row = {"asked": asked, "chosen": chosen, "rejected": rejected}
    assert pair_of(row, columns, "made") == tuple([*QUESTION, *answer] for answer in ANSWERS)


@pytest.mark.parametrize(
    "columns, chosen, rejected, reason",
    [
        (TEXTS, "w9", "w9", "chosen and rejected are the same"),
        (TEXTS, "w9", None, "empty question or answer"),
        (DIALOGUES, transcript("w10", "w9"), transcript("w11", "w8"), "differ before their last answer"),
        (DIALOGUES, "w9", "w8", "neither a list of turns nor a transcript"),
    ],
)
def test_a_row_that_is_no_pair_says_why(columns, chosen, rejected, reason):
    with pytest.raises(NotAConversation, match=reason):
        pair_of({"asked": "w10", "chosen": chosen, "rejected": rejected}, columns, "made")


def test_the_tokens_are_the_prompts_and_whole_answers(tokenizer):
    system = PreferenceSet("made.jsonl", prompt="asked", system="system")
    row = {"system": "w3", "asked": "w10", "chosen": "w9 w7", "rejected": "w8"}
    chosen, rejected = pair_of(row, system, "made")
    pair = {name: ids.tolist() for name, ids in pair_ids(tokenizer, chosen, rejected).items()}
    assert pair["prompt_ids"] == prompt_ids(tokenizer, [{"role": "system", "content": "w3"}, chosen[1]])
    assert (pair["chosen_ids"], pair["rejected_ids"]) == ([9, 7, 2], [8, 2])  # a word's id is its number


def write_pairs(path, count):
    """Pairs whose better answer begins with w9 and whose worse one begins with w8, and rows that are none."""
    rows = [
        {"asked": f"w{10 + n % 80} w{10 + n % 7}", "chosen": f"w9 w{20 + n % 60}", "rejected": f"w8 w{20 + n % 60}"}
        for n in range(count)
    ]
    more = [{**rows[0], "rejected": rows[0]["chosen"]}, {**rows[0], "chosen": "w9 " * 60}]
    write_jsonl(path, rows + more)


@pytest.fixture(scope="module")
def preferred(tmp_path_factory, tokenizer):
    """The recipe of a run with a tuned series of steps 0 and 4, whose step 4 was tuned on pairs, and merged."""
    folder = tmp_path_factory.mktemp("preferred")
    series = folder / "run/instruct/tuned"
    write_series(series, "made", [save_step(series / f"step-{n:05d}", n, small_model(n), tokenizer) for n in (0, 4)])
    write_conversations(folder / "run/instruct/data", 8, 0)
    write_pairs(folder / "pairs.jsonl", 80)
    write_jsonl(folder / "dialogues.jsonl", [{"better": transcript("w5", "w9"), "worse": transcript("w5", "w8")}] * 8)
    sets = {
        "pairs": {"path": str(folder / "pairs.jsonl"), "prompt": "asked"},
        "dialogues": {"path": str(folder / "dialogues.jsonl"), "chosen": "better", "rejected": "worse"},
    }
    settings = {"variant": "polite", "base": "tuned", "steps": "4", "sets": sets, "validation_share": 0.3, "rank": 4}
    settings |= {"sequence_length": 32, "alpha": 8, "dropout": 0.1, "learning_rate": 0.05, "epochs": 5, "beta": 0.3}
    settings |= {"global_batch": 8, "micro_batch": 4, "log_every": 1, "save_every": 5}
    recipe = write_recipe(folder / "recipe.yaml", extends=SMALL, preferences=settings)
    assert "held-out pairs" in run_main(preferences, recipe)
    assert "8 of 8 greedy answers the same" in run_main(merge, recipe, "variant=polite")
    return recipe


def test_held_out_questions_get_the_planted_preference(preferred):
    record = read_json((preferred.parent / ADAPTER).with_name("run.json"))
    held_out = record["held_out"]
    assert held_out["reward_accuracy"] > 0.9 and held_out["reward_margin"] > 0.1
    assert held_out["chosen_likelier"] > 0.9 > held_out["chosen_likelier_before"]
    dropped = {"chosen and rejected are the same": 1, "longer than sequence_length": 1}
    assert record["counts"]["pairs"] == {"seen": 82, "kept": 80, "dropped": dropped}
    rejects = read_jsonl((preferred.parent / ADAPTER).with_name("rejects.jsonl"))
    assert [(row["set"], row["row"], row["reason"]) for row in rejects] == [
        ("pairs", 80 + n, why) for n, why in enumerate(dropped)
    ]
    assert record["counts"]["dialogues"] == {"seen": 8, "kept": 8, "dropped": {}}
    assert record["examples"] + held_out["pairs"] == 88 and 10 < held_out["pairs"] < 40


def test_the_log_begins_at_chance_and_ends_with_the_held_out_pairs(preferred):
    first, *rows, last = read_jsonl((preferred.parent / ADAPTER).with_name("log.jsonl"))
    record = read_json((preferred.parent / ADAPTER).with_name("run.json"))
    assert first["loss"] == pytest.approx(log(2), abs=1e-4) and first["reward_margin"] == pytest.approx(0, abs=1e-5)
    assert rows[-1]["loss"] < 0.65 and rows[-1]["reward_accuracy"] > 0.9 and rows[-1]["reward_margin"] > 0.1
    assert rows[-1]["step"] == record["optimiser_steps"] and last["step"] == rows[-1]["step"]
    assert all(last[f"held_out_{name}"] == value for name, value in record["held_out"].items())


def test_the_merged_model_is_a_series_that_answers_as_preferred(preferred):
    (step,) = read_series(preferred.parent / "run/instruct/polite")
    assert step.step == 4 and step.row["parent"].endswith("tuned/step-00004")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(step.location), AutoTokenizer.from_pretrained(step.location)
    logits = model(input_ids=torch.tensor([prompt_ids(tokenizer, QUESTION)])).logits[0, -1]
    assert logits[9] > logits[8] and not any("lm_head" in name for name in load_file(preferred.parent / ADAPTER))


def test_preference_tuning_killed_half_way_ends_with_the_same_adapter(preferred, tmp_path):
    words = copy_run(preferred, tmp_path, "instruct/tuned", "instruct/data")
    folder = (tmp_path / ADAPTER).parent
    kill_when((folder / "trainer/checkpoint-10/trainer_state.json").exists, "finetune/preferences.py", *words)
    assert not (folder / "run.json").exists()
    run_main(preferences, *words[1:])
    assert file_hash(tmp_path / ADAPTER) == file_hash(preferred.parent / ADAPTER)
    assert read_jsonl(folder / "log.jsonl") == read_jsonl((preferred.parent / ADAPTER).with_name("log.jsonl"))
    assert "step-00004: done" in run_main(preferences, *words[1:]) and not (folder / "trainer").exists()


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_the_loss_is_the_papers(tokenizer, tmp_path, loss):
    """Against log-probabilities of single answers, from the logits: no padding, no TRL."""
    write_pairs(tmp_path / "pairs.jsonl", 6)
    sets = {"pairs": PreferenceSet(str(tmp_path / "pairs.jsonl"), prompt="asked")}
    pairs = read_pairs(sets, tokenizer, 32, 0.0)
    pairs.train[1]["chosen_ids"] = pairs.train[1]["chosen_ids"][[0, 1, 1, 2]]  # so that lengths differ
    s = preferences.Settings("polite", "tuned", sets, loss_type=loss, beta=0.3, rank=4, global_batch=2, micro_batch=2)
    adapters = lora(model := small_model(3), ["q_proj", "up_proj"], 4, 8, 0.0, "test")
    trainer = preferences.make_trainer(model, adapters, tokenizer, pairs, 1, tmp_path, s)
    rows = [{name: ids.tolist() for name, ids in pair.items()} for pair in pairs.train[:2]]
    batch = trainer.data_collator(rows)
    tuned = trainer.model.eval()
    at_zero = float(trainer.compute_loss(tuned, batch))
    assert at_zero == pytest.approx(log(2) if loss == "sigmoid" else 1 / (2 * 0.3) ** 2)
    for name, weights in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, generator=torch.manual_seed(1))

    def log_prob(pair, answer):
        ids = torch.tensor([pair["prompt_ids"] + pair[answer]])
        log_probs = tuned(input_ids=ids).logits[0, :-1].log_softmax(-1)
        each = log_probs[range(len(log_probs)), ids[0, 1:]][len(pair["prompt_ids"]) - 1 :]
        return float(each.sum() if loss == "sigmoid" else each.mean())

    def log_ratio(pair):
        return log_prob(pair, "chosen_ids") - log_prob(pair, "rejected_ids")

    with torch.no_grad():
        after = torch.tensor([log_ratio(pair) for pair in rows])
        with tuned.disable_adapter():
            margins = after - torch.tensor([log_ratio(pair) for pair in rows])
        lost = -(0.3 * margins).sigmoid().log() if loss == "sigmoid" else (margins - 1 / (2 * 0.3)) ** 2
        assert margins.abs().min() > 0.01
        assert float(trainer.compute_loss(tuned, batch)) == pytest.approx(float(lost.mean()), abs=1e-5)


@pytest.mark.parametrize(
    "words, message",
    [
        (["variant=tuned"], "variant 'tuned' is the series it starts from; give it a name of its own"),
        (["variant=data"], "'data' cannot be a folder's name for a variant; try tuned-dpo"),
        (["targets=q_proj,lm_head"], "targets q_proj,lm_head: lm_head cannot have an adapter here"),
        (["global_batch=6"], "global_batch 6 is not a multiple of micro_batch 4 x 1 ranks; try 8"),
        (["base=other"], "other/series.json not found.*or choose from"),
        (["variant=x", "sets.pairs.prompt=question"], "preference set pairs has no column 'question'"),
        (
            ["variant=x", "sets.pairs.rejected=chosen"],
            "set pairs keeps none of its 82 rows; 82 chosen and rejected are",
        ),
        (["variant=x", "sequence_length=65"], "sequence_length 65 is more than the model's 64 positions"),
        (["beta=0.2"], "was made with beta 0.3, now 0.2; add --overwrite"),
    ],
)
def test_a_mistake_is_one_line_with_both_values_and_the_cure(preferred, words, message):
    with pytest.raises(BadInput, match=message):
        run_main(preferences, preferred, *words)
