"""Answers over a series, and their figure: pytest tests/test_answers.py"""

import math

import pytest
import torch
from conftest import SMALL, refused, run_main, save_step, small_model, write_recipe
from transformers import AutoTokenizer

from analyze import answers
from plot import answers as plot_answers
from snakmodel.prompts import prompt_ids
from snakmodel.records import read_json
from snakmodel.series import write_series

QUESTION = {"prompt": "w5 w6", "answers": ["w7 w8", "w9"]}


def learn(model, ids):
    """Trains a model until it knows a text."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    ids_BT = torch.tensor([ids])
    for _ in range(60):
        optimizer.zero_grad()
        model(ids_BT, labels=ids_BT).loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tokenizer):
    """A series that has learnt `w5 w6 w7 w8` at step 50, and one tuned, with a chat template."""
    folder = tmp_path_factory.mktemp("answers")
    plain = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    models = folder / "run/models"
    rows = [save_step(models / "step-00000", 0, learn(small_model(0), plain("w5 w6 w9").input_ids), plain)]
    rows += [save_step(models / f"step-{n:05}", n, learn(small_model(0), plain("w5 w6 w7 w8").input_ids), plain)
             for n in (50, 100)]  # fmt: skip
    write_series(models, "made", rows)
    chat = folder / "run/instruct/chat"
    write_series(chat, "chat", [save_step(chat / "step-00050", 50, small_model(3), tokenizer)])
    sections = {"answers": {"questions": {"seven": QUESTION}}, "plot_answers": {}}
    return write_recipe(folder / "made.yaml", extends=SMALL, **sections)


def rows_of(recipe, name="seven"):
    return read_json(recipe.parent / f"run/analysis/answers/{name}.json")["rows"]


def by_hand(folder, ids, first):
    """Probability of the tokens from `first` on."""
    from transformers import LlamaForCausalLM

    with torch.inference_mode():
        logits_TV = LlamaForCausalLM.from_pretrained(folder)(torch.tensor([ids])).logits[0]
    return math.exp(sum(logits_TV[t - 1].log_softmax(-1)[ids[t]].item() for t in range(first, len(ids))))


def test_an_answer_is_as_probable_as_its_tokens_and_learnt_where_it_was_planted(recipe, tokenizer):
    said = run_main(answers, recipe)
    assert "the likeliest of them from step 50 on" in said
    rows = {(row["step"], row["answer"]): row for row in rows_of(recipe)}
    ids = tokenizer("w5 w6 w7 w8").input_ids
    for step in (0, 50, 100):
        row = rows[step, "w7 w8"]
        expected = by_hand(recipe.parent / f"run/models/step-{step:05}", ids, 3)
        assert row["probability"] == pytest.approx(expected, rel=1e-5) == math.exp(row["nats"])
        assert row["share"] == pytest.approx(expected / (expected + rows[step, "w9"]["probability"]))
    assert rows[0, "w7 w8"]["share"] < 0.1 and rows[50, "w7 w8"]["share"] > 0.9
    assert (rows[50, "w9"]["format"], rows[50, "w9"]["tokens"]) == ("text", 1600)


def test_a_tuned_model_is_asked_in_its_template_and_its_end_of_text_does_not_count(recipe, tokenizer):
    run_main(answers, recipe, "series=chat", "questions.other.prompt=w5", "questions.other.answers=w7 w8")
    (row,) = rows_of(recipe, "other")
    before = prompt_ids(tokenizer, [{"role": "user", "content": "w5"}])
    ids = before + tokenizer("w7 w8", add_special_tokens=False).input_ids
    expected = by_hand(recipe.parent / "run/instruct/chat/step-00050", ids, len(before))
    assert row["format"] == "chat" and row["probability"] == pytest.approx(expected, rel=1e-5) and row["share"] == 1


def test_what_all_answers_begin_with_counts(recipe, tokenizer):
    run_main(answers, recipe, "questions.shared.prompt=w5 ", "questions.shared.answers=w6 w7,w6 w9", "steps=50")
    row = rows_of(recipe, "shared")[0]
    expected = by_hand(recipe.parent / "run/models/step-00050", tokenizer("w5 w6 w7").input_ids, 2)
    assert row["probability"] == pytest.approx(expected, rel=1e-5)


def test_another_question_is_asked_without_asking_the_first_again(recipe):
    run_main(answers, recipe)
    said = run_main(answers, recipe, "questions.new.prompt=w5", "questions.new.answers=w7,w9")
    assert (
        said.count(": done (") == 3
        and said.count("the likeliest") == 1
        and {row["question"] for row in rows_of(recipe, "new")} == {"new"}
    )
    assert "[w6]" not in run_main(answers, recipe, "questions.new.prompt=w6", "questions.new.answers=w7,w9")
    assert rows_of(recipe, "new")[0]["prompt"] == "w6"


def test_steps_that_were_asked_another_question_are_left_out_and_named(recipe):
    words = ["questions.other.answers=w7,w9", "series=pretrained"]
    run_main(answers, recipe, "questions.other.prompt=w5", *words)
    said = run_main(answers, recipe, "questions.other.prompt=w6", "questions.other.answers=w7,w9,w8", "steps=100")
    assert "other, pretrained step-00050: left out, was asked otherwise or of another model" in said
    assert {(row["step"], row["prompt"]) for row in rows_of(recipe, "other")} == {(100, "w6")}


@pytest.mark.parametrize(
    "words, message",
    [
        (["questions.a/b.prompt=w5", "questions.a/b.answers=w6"], "'a/b' cannot be a file's name"),
        (["questions.seven.answers=[]"], "answers.questions.seven.answers should be texts, got []"),
        (["questions.new.prompt=w5"], "answers.questions.new.answers is missing"),
        (["questions.seven.answers=w6,w7,w6"], "answers.questions.seven.answers has 'w6' twice; give each once"),
    ],
)
def test_a_question_that_cannot_be_asked_is_one_line(recipe, words, message):
    assert message in refused("analyze/answers.py", "--config", recipe, *words)


@pytest.mark.parametrize(
    "shares, step",
    [
        ([(0, [0.1, 0.9]), (1, [0.6, 0.4]), (2, [0.7, 0.3])], 1),
        ([(0, [0.6, 0.4]), (1, [0.5, 0.5]), (2, [0.7, 0.3])], 2),
        ([(0, [0.6, 0.4]), (1, [0.4, 0.6])], None),
    ],
)
def test_learnt_is_the_first_step_after_which_no_other_answer_is_as_likely(shares, step):
    assert answers.learnt_at(shares) == step


def test_the_figure_says_every_share(recipe):
    run_main(answers, recipe)
    run_main(plot_answers, recipe)
    text = (recipe.parent / "run/figures/answers/seven-pretrained.txt").read_text()
    shares = [f"{row['step']}: {row['share']:.4g}" for row in rows_of(recipe) if row["answer"] == "w7 w8"]
    assert f"Share among the answers\nw7 w8: {'; '.join(shares)}\n" in text, (text, shares)
