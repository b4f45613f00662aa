"""Talking to checkpoints, as a person at a terminal does: pytest tests/test_prompt.py"""

import json
import os
import re
from importlib.util import find_spec

import pytest
import wcwidth
from conftest import SMALL, refused, save_step, script, write_recipe
from played_terminal import ALT_ENTER, CTRL_C, CTRL_D, UP, Terminal
from test_speakers import LONG, chatty_model
from transformers import AutoTokenizer

from analyze import prompt, terminal
from analyze.conversation import Conversation
from analyze.speakers import Choice, Sampling, load_speaker
from snakmodel.config import BadInput, read_command
from snakmodel.series import write_series


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


def test_a_transcript_is_gone_on_with_and_a_later_model_takes_over(tmp_path):
    talk = Conversation(Sampling(seed=3), system="Du er kort for hovedet.")
    talk.add("Hej\nmed dig", {"a": "Goddag\u2028", "b": ""})
    talk.save(tmp_path / "talk.jsonl")
    with pytest.raises(BadInput, match="is there already; name another"):
        talk.save(tmp_path / "talk.jsonl")
    again = Conversation(Sampling())
    again.load(tmp_path / "talk.jsonl")
    assert (again.exchanges, again.system, again.sampling) == (talk.exchanges, talk.system, talk.sampling)
    assert [turn["content"] for turn in again.turns("c", "Og?", again.exchanges)] == [
        talk.system,
        "Hej\nmed dig",
        "Goddag\u2028",
        "Og?",
    ]
    assert again.turns("b", "Og?", again.exchanges)[2]["content"] == ""
    line = json.loads((tmp_path / "talk.jsonl").read_text())
    for content, message in (
        ({"a": 1}, r"this is no transcript: \S+/other.jsonl: line 1.a is not a setting"),
        ([1], "line 1 should hold settings"),
        (line | {"sampling": {"seed": "x"}}, "line 1.sampling.seed should be int, got 'x'"),
        (line | {"sampling": {"top_p": 2}}, "line 1.sampling.top_p should be at most 1, got 2"),
        (line | {"answers": {"a": None}}, "line 1.answers.a should be str, got None"),
    ):
        (tmp_path / "other.jsonl").write_text(json.dumps(content) + "\n")
        with pytest.raises(BadInput, match=message):
            again.load(tmp_path / "other.jsonl")
    with pytest.raises(BadInput, match="gone.jsonl not found"):
        again.load(tmp_path / "gone.jsonl")
    assert again.exchanges == talk.exchanges  # it goes on as it was


def test_a_transcript_gives_back_what_was_not_taken_back(tmp_path):
    def prompts(file):
        read = Conversation(Sampling())
        read.load(file)
        return [(exchange.prompt, *exchange.answers.values()) for exchange in read.exchanges]

    file = tmp_path / "new/talk.jsonl"
    talk = Conversation(Sampling(), transcript=file)
    talk.add("before", {"a": "0"})
    talk.reset()
    for number in ("one", "two", "three"):
        talk.add(number, {"a": "1"})
    talk.undo()
    talk.add("two", {"a": "2"}, retry=True)
    assert prompts(file) == [("one", "1"), ("two", "2")] and len(file.read_text().splitlines()) == 7
    talk.save(tmp_path / "saved.jsonl")
    talk.load(file)  # its own: nothing is written twice
    assert len(file.read_text().splitlines()) == 7

    other = Conversation(Sampling(), transcript=tmp_path / "other.jsonl")
    other.add("elsewhere", {"a": "1"})
    other.load(tmp_path / "saved.jsonl")
    other.undo()
    assert prompts(other.transcript) == [("one", "1")] == [(e.prompt, *e.answers.values()) for e in other.exchanges]


@pytest.fixture
def talk(recipe, tmp_path):
    """Two models one below the other, and what was said once."""
    words = ["--config", str(recipe), "series=pretrained,chat", "steps=50", "new_tokens=3", f"transcript={tmp_path}/t"]
    talk = prompt.Talk(read_command(prompt.Settings, "prompt", "", words))
    talk.ask("w5 w6")
    return talk


def test_a_retry_that_gave_nothing_leaves_what_was_there_and_one_that_gave_something_takes_its_place(talk, monkeypatch):
    (first,) = talk.conversation.exchanges
    with monkeypatch.context() as patch:
        patch.setattr(terminal, "show_below", interrupt)
        talk.obey("/retry")
        patch.setattr(talk, "speakers", [])
        with pytest.raises(BadInput, match="no model is loaded"):
            talk.obey("/retry")
    assert talk.conversation.exchanges == [first]
    talk.obey("/retry")
    (second,) = talk.conversation.exchanges
    assert (second.prompt, second.sampling.seed) == (first.prompt, first.sampling.seed + 1)
    assert [json.loads(line).get("retry") for line in talk.conversation.transcript.open()] == [None, True]
    # the chatting model was not told its first answer: it is as if the second seed had been the first
    talk.obey("/undo")
    talk.obey(f"/seed {second.sampling.seed}")
    talk.ask("w5 w6")
    assert talk.conversation.exchanges[0].answers == second.answers != first.answers
    talk.obey("/seed 5")  # what was set since the last answer holds
    talk.obey("/retry")
    assert talk.conversation.exchanges[0].sampling.seed == 5


def interrupt(title, pieces):
    raise KeyboardInterrupt


def test_a_model_that_was_not_asked_for_an_interrupt_has_no_answer(talk, monkeypatch):
    def interrupt_after_one(title, pieces):
        next(pieces)
        raise KeyboardInterrupt

    monkeypatch.setattr(terminal, "show_below", interrupt_after_one)
    talk.ask("w7")
    exchange = talk.conversation.exchanges[-1]
    assert list(exchange.answers) == ["pretrained@50"] and len(exchange.answers["pretrained@50"].split()) == 1
    assert talk.conversation.turns("chat@50", "w8", [exchange])[1]["content"] == exchange.answers["pretrained@50"]


def test_what_cannot_be_written_or_is_out_of_range_is_one_line_and_the_conversation_goes_on(recipe, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"sampling": {"seed": "x"}}\n')
    lines = ["w5 w6", "/save /proc/nope/x", f"/save {tmp_path}/{'n' * 300}", f"/load {tmp_path}/{'n' * 300}"]
    lines += [f"/load {tmp_path}", f"/load {tmp_path}/bad.jsonl", "/seed 99999999999999999999999", "/seed", "/top_p"]
    lines += ["/temperature 1e-320", "/save ~nobody-of-that-name/x", "/settings", f"/save {tmp_path}/good.jsonl", "w7"]
    words = ["analyze/prompt.py", "--config", recipe, "new_tokens=5", "steps=0"]
    lines[1:1] = ["\udce6"]  # æ in Latin-1
    locale = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = script(*words, input="\n".join(lines) + "\n", errors="surrogateescape", env=locale)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert len(done.stdout.splitlines()) == 2 and (tmp_path / "good.jsonl").read_text().count("\n") == 1
    assert done.stderr.count("error: ") == 8 and "error: this is not UTF-8" in done.stderr
    assert "error: /proc/nope/x: there is no folder /proc/nope; make it, or name another file" in done.stderr
    told = done.stderr.splitlines()
    assert {"seed 8446", "top_p 0.95", "temperature 1e-320", "new_tokens 5", "transcript: none"} <= set(told)
    assert told.count("seed 8446") == 2  # asked for, and among the settings
    assert "error: /proc/nope/x: " in refused(*words, "transcript=/proc/nope/x")


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


def test_wide_characters_take_two_columns_and_none_that_a_terminal_obeys_is_shown(capsys):
    terminal.show_beside(["one", "two"], [iter(["日本語 テスト 🍓"]), iter(["rødgrødens e\u0301n to"])], 10)
    rows = capsys.readouterr().out.splitlines()
    assert rows[2:] == ["日本語     │ rødgrødens", "テスト 🍓  │ e\u0301n to"]
    assert {wcwidth.wcswidth(row.partition("│")[0]) for row in rows} == {11}
    assert terminal.harmless("a\u202eb\u2066c\x9b\x1b]0;x\x07") == "a\ufffdb\ufffdc\ufffd\ufffd]0;x\ufffd"
    family = "👨\u200d👩\u200d👧 så\u00ad"
    assert terminal.harmless(family) == family


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
    one, stopped, undone, again = map(json.loads, saved.read_text().splitlines())
    assert one["prompt"] == "w5 w6" and all(len(text.split()) == 30 for text in one["answers"].values())
    assert stopped["prompt"] == "w7\nw8" and all(10 < len(a.split()) < LONG for a in stopped["answers"].values())
    assert undone["undo"] and again["prompt"] == "w7\nw8" and len(again["answers"]) == 4
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
