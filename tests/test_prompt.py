"""Talking to checkpoints, as a person at a terminal does: pytest tests/test_prompt.py"""

import json
import re
from importlib.util import find_spec

import pytest
import torch
from conftest import SMALL, refused, save_step, script, small_model, write_recipe
from played_terminal import ALT_ENTER, CTRL_C, CTRL_D, UP, Terminal
from test_prompts import letters_tokenizer
from transformers import AutoTokenizer

from analyze import terminal
from analyze.conversation import Conversation
from analyze.speakers import Choice, Sampling, Speaker, load_speaker, room, speak, text_ids
from snakmodel.config import BadInput
from snakmodel.series import write_series

LONG = 4_000  # tokens: seconds


def chatty_model(seed):
    """A model that does not end by itself."""
    model = small_model(seed, max_position_embeddings=LONG + 200)
    with torch.no_grad():
        model.lm_head.weight.mul_(40)
        model.lm_head.weight[:3] = 0  # special tokens
    return model


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tokenizer):
    """A run with a pre-trained series, without chat templates, and a tuned one, with one from its second step on."""
    folder = tmp_path_factory.mktemp("talk")
    plain = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    for series, names in (("models", {0: plain, 50: plain}), ("instruct/chat", {0: plain, 50: tokenizer})):
        place = folder / "run" / series
        rows = [save_step(place / f"step-{n:05}", n, chatty_model(n), names[n]) for n in names]
        write_series(place, series, rows)
    return write_recipe(folder / "made.yaml", extends=SMALL, serve={})


@pytest.fixture(scope="module")
def speakers(recipe):
    """Two base models and a chatting one."""
    places = {"base@0": "models/step-00000", "base@50": "models/step-00050", "chat@50": "instruct/chat/step-00050"}
    return {name: load_speaker(name, str(recipe.parent / "run" / place), Choice()) for name, place in places.items()}


def said(speaker, prompt, sampling, **options):
    return "".join(piece.text for piece in speak(speaker, text_ids(speaker, prompt), sampling, **options))


def test_without_temperature_the_text_is_the_librarys_greedy_one(speakers):
    speaker = speakers["base@0"]
    ids = text_ids(speaker, "w5 w6 w7")
    (expected,) = speaker.model.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)
    *pieces, last = speak(speaker, ids, Sampling(new_tokens=20, temperature=0))
    text = "".join(piece.text for piece in [*pieces, last])
    assert text == " " + speaker.tokenizer.decode(expected[len(ids) :]) and (last.tokens, last.end) == (20, "length")


def test_draws_have_the_frequencies_of_the_softmax_cut_at_top_p(speakers):
    speaker = speakers["base@0"]
    ids = text_ids(speaker, "w9")
    with torch.inference_mode():
        p_V = (speaker.model(torch.tensor([ids])).logits[0, -1] / 9).softmax(-1)
    order = p_V.argsort(descending=True)
    kept = order[: int((p_V[order].cumsum(0) < 0.5).sum()) + 1]
    drawn = [said(speaker, "w9", Sampling(1, 9.0, 0.5, seed)) for seed in range(400)]
    words = speaker.tokenizer.convert_ids_to_tokens(kept.tolist())
    assert {word.strip() for word in drawn} <= set(words) and len(kept) > 3
    shares = p_V[kept] / p_V[kept].sum()
    for word, share in zip(words, shares.tolist(), strict=True):
        assert sum(text.strip() == word for text in drawn) / 400 == pytest.approx(share, abs=0.1)


def test_the_same_prompt_and_seed_give_the_same_text_alone_and_in_turns_with_others(speakers):
    sampling = Sampling(new_tokens=12, temperature=3)
    alone = {name: said(speaker, "w5", sampling) for name, speaker in speakers.items()}
    streams = {name: speak(speaker, text_ids(speaker, "w5"), sampling) for name, speaker in speakers.items()}
    together = dict.fromkeys(streams, "")
    for _ in range(13):
        for name, stream in streams.items():
            together[name] += next(stream).text
    assert together == alone and len(set(alone.values())) > 1
    assert said(speakers["base@0"], "w5", Sampling(12, 3, seed=1)) != alone["base@0"]


def test_a_text_ends_before_the_first_stop_and_no_piece_shows_a_beginning_of_one(speakers):
    speaker, sampling = speakers["base@50"], Sampling(new_tokens=30)
    whole = said(speaker, "w5", sampling)
    words = whole.split()
    stop = f"{words[10]} {words[11]}"
    ids = text_ids(speaker, "w5")
    pieces = list(speak(speaker, ids, sampling, stops=("never", stop)))
    text = "".join(piece.text for piece in pieces)
    assert whole.startswith(text) and text == whole[: whole.index(stop)] and pieces[-1].end == "stop"


def test_a_piece_never_ends_in_the_middle_of_a_character(tmp_path):
    names, text = letters_tokenizer("<s>", "</s>"), "så spiste vi rødgrød 🍓 med fløde"
    ids_BT = torch.tensor([[names.bos_token_id, *names(text).input_ids, names.eos_token_id]])
    model = small_model(0, vocab_size=len(names))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        model(ids_BT, labels=ids_BT).loss.backward()
        optimizer.step()
    speaker = Speaker("letters", model.eval(), names)
    pieces = list(speak(speaker, text_ids(speaker, "så "), Sampling(temperature=0)))
    assert "".join(piece.text for piece in pieces) == text.removeprefix("så ")
    assert pieces[-1].end == "stop" and "🍓" in [piece.text for piece in pieces]


def test_oldest_exchanges_make_room_for_new_ones_and_it_is_told(speakers):
    speaker = speakers["chat@50"]
    talk = Conversation(Sampling(new_tokens=LONG), system="w3")
    for number in range(40):
        talk.add(" ".join(["w5"] * 60), {"chat@50": " ".join([f"w{number + 10}"] * 60)})
    pieces, skipped = talk.ask(speaker, "w7")
    turns = talk.turns("chat@50", "w7", skipped)
    assert 0 < skipped < 40 and turns[0]["role"] == "system" and next(pieces).text
    assert turns[2]["content"].startswith(f"w{skipped + 10} ")
    with pytest.raises(BadInput, match="5001 tokens fill its 4200 positions; shorten the prompt"):
        next(speak(speaker, text_ids(speaker, "w5 " * 5000), talk.sampling))
    assert room(speaker, []) == 4200


def test_a_transcript_is_gone_on_with_and_a_later_model_takes_over(tmp_path):
    talk = Conversation(Sampling(seed=3), system="Du er kort for hovedet.")
    talk.add("Hej\nmed dig", {"a": "Goddag\u2028", "b": ""})
    talk.save(tmp_path / "talk.jsonl")
    with pytest.raises(BadInput, match="is there already; name another"):
        talk.save(tmp_path / "talk.jsonl")
    again = Conversation(Sampling())
    again.load(tmp_path / "talk.jsonl")
    assert (again.exchanges, again.system, again.sampling) == (talk.exchanges, talk.system, talk.sampling)
    assert [turn["content"] for turn in again.turns("c", "Og?")] == [talk.system, "Hej\nmed dig", "Goddag\u2028", "Og?"]
    assert again.turns("b", "Og?")[2]["content"] == ""
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    for name, message in (("other.jsonl", "is no transcript"), ("gone.jsonl", "not found")):
        with pytest.raises(BadInput, match=message):
            again.load(tmp_path / name)


def test_rows_of_columns_appear_as_soon_as_all_have_filled_them(capsys):
    def slow():
        yield "ab"
        yield " cd"
        assert "ab" not in capsys.readouterr().out  # its row might still change
        yield " ef"
        yield " gh"
        assert "ab cd │ 1 2 3\n" in capsys.readouterr().out
        yield "\x1b[2J\n\ni\tj"

    terminal.show_beside(["one@0", "a long name"], [slow(), iter(["1 2 3 ", "4 5 6 7"])], 5)
    rest = capsys.readouterr().out
    assert rest.splitlines() == ["ef gh │ 4 5 6", "\ufffd[2J  │ 7", "      │", "i   j │"]


def test_piped_lines_get_the_models_words_alone(recipe):
    words = ["analyze/prompt.py", "--config", recipe, "new_tokens=5", "steps=0"]
    base = script(*words, input="w5 w6\nw5 w6\n/seed 7\nw5 w6\n/temperatur 1\n/seed x\n/steps 7\n/retry\n/system w3\n")
    first, second, third, fourth = base.stdout.splitlines()
    assert first == second != third and len(first.split()) == 5 and third != fourth, base.stderr
    assert "pretrained@0" in base.stderr and "continues text: its tokenizer has no chat template" in base.stderr
    assert "error: /temperatur is no command; did you mean /temperature" in base.stderr
    assert "error: /seed should be int, got 'x'" in base.stderr and "seed 8: w5 w6" in base.stderr
    assert (
        "error: no model here chats" in base.stderr and "no checkpoint of step 7; the series has 0, 50" in base.stderr
    )


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "which model? Give models=FOLDER or models=ORG/NAME"),
        (["models=org/name", "bits=5"], "prompt.bits should be 4, 8 or null, got 5"),
    ],
)
def test_a_model_that_is_not_there_is_one_line(words, message):
    assert message in refused("analyze/prompt.py", *words)


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_bits_without_bitsandbytes_are_one_line(recipe):
    with pytest.raises(BadInput, match="bits 4 needs bitsandbytes: pip install bitsandbytes, or leave bits out"):
        load_speaker("base", str(recipe.parent / "run/models/step-00000"), Choice(bits=4))


def test_a_person_compares_two_checkpoints_stops_an_answer_and_leaves(recipe, tmp_path):
    saved = tmp_path / "talk.jsonl"
    words = ["--config", recipe, "series=pretrained,chat", "steps=50", f"transcript={saved}", f"new_tokens={LONG}"]
    person = Terminal(tmp_path, "analyze/prompt.py", *words)
    person.type("/new_tokens 30")
    person.type("w5 w6")
    text = person.wait(lambda text: text.count("│") > 4 and text.endswith("\n>"))
    assert "pretrained@50" in text and "chat@50" in text
    person.type(f"/new_tokens {LONG}")
    person.type("w7" + ALT_ENTER + "w8")
    person.wait(lambda text: text.count("│") > 16)
    person.child.send(CTRL_C)
    person.type("/new_tokens 30")
    person.type("/undo")
    person.wait("forgotten: w7")
    person.type("/steps 0,50")
    person.wait(lambda text: re.search(r"chat@0 \(\S+\) ?continues text", text.replace("\n", "")))
    person.type(UP * 4)  # to the stopped prompt, of two lines
    person.wait(lambda text: text.count("w8") > 2 and text.endswith("\n>"))
    person.wait(lambda text: "── chat@50" in text or "── chat@0" in text)  # four do not fit beside each other
    person.type("half a line" + CTRL_C)
    person.type("")
    person.child.send(CTRL_D)
    assert person.end() == 0
    one, stopped, again = map(json.loads, saved.read_text().splitlines())
    assert one["prompt"] == "w5 w6" and all(len(text.split()) == 30 for text in one["answers"].values())
    assert stopped["prompt"] == "w7\nw8" and all(10 < len(a.split()) < LONG for a in stopped["answers"].values())
    assert again["prompt"] == "w7\nw8" and len(again["answers"]) == 4
    assert (tmp_path / "snakmodel/history").stat().st_mode & 0o077 == 0


def test_a_person_who_mistypes_a_path_reads_one_line(tmp_path):
    person = Terminal(tmp_path, "analyze/prompt.py", "models=tests/no-such-model")
    person.wait("error: tests/no-such-model: no such folder; give a model's folder, a run's, or a Hub id")
    assert person.end() == 2 and person.text.count("\n") < 2


def test_a_person_talks_to_a_model_without_a_template_and_quits(recipe, tmp_path):
    person = Terminal(tmp_path, "analyze/prompt.py", f"models={recipe.parent / 'run/models/step-00050'}", columns=60)
    person.wait("has no chat template")
    person.type("w5 w6")
    person.wait(lambda text: text.count(" w") > 20)
    person.child.send(CTRL_C)
    person.type("/quit")
    assert person.end() == 0
