"""The endpoint for clients of OpenAI's API, asked by curl: pytest tests/test_serve.py"""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from conftest import ROOT, SMALL, refused, save_step, script, small_model, write_recipe
from transformers import AutoTokenizer

from analyze.openai_requests import parse
from analyze.speakers import Choice, Sampling, load_speaker, speak, text_ids
from snakmodel.config import BadInput
from snakmodel.series import write_series

CHAT = {"model": "chat@50", "messages": [{"role": "user", "content": "w5 w6"}]}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("serve")
    plain = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    for series, names, steps in (("models", plain, (0, 50)), ("instruct/chat", tokenizer, (50,))):
        place = folder / "run" / series
        rows = [save_step(place / f"step-{n:05}", n, small_model(n, initializer_range=1.0), names) for n in steps]
        write_series(place, series, rows)
    settings = {"series": ["pretrained", "chat"], "steps": "50", "port": 0, "new_tokens": 9, "temperature": 5}
    return write_recipe(folder / "made.yaml", extends=SMALL, serve=settings)


def start(recipe, *words, **environment):
    """A server that listens, and its address."""
    command = [sys.executable, "analyze/serve.py", "--config", str(recipe), *words]
    server = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = server.stdout.readline()
    assert line, server.stderr.read()
    return server, re.match(r"(http://\S+:\d+/v1) serves", line)[1]


@pytest.fixture(scope="module")
def address(recipe):
    server, address = start(recipe)
    yield address
    server.send_signal(signal.SIGINT)
    assert server.wait(30) == 0 and server.stderr.read() == ""


def curl(url, body=None, *options):
    """The status and what came back."""
    data = [] if body is None else ["--data", json.dumps(body) if isinstance(body, dict) else body]
    done = script("-sS", "-w", "\n%{http_code}", *options, *data, url, program="curl")
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


def ask(address, body):
    status, text = curl(f"{address}/{'chat/' if 'messages' in body else ''}completions", body)
    assert status == 200, text
    return json.loads(text)


def events(address, body):
    status, text = curl(f"{address}/{'chat/' if 'messages' in body else ''}completions", body | {"stream": True}, "-N")
    *some, last, rest = text.split("\n\n")
    assert (status, last, rest) == (200, "data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in some]


def test_every_checkpoint_is_a_model(address):
    models = json.loads(curl(f"{address}/models")[1])["data"]
    assert [model["id"] for model in models] == ["pretrained@50", "chat@50"]
    assert json.loads(curl(f"{address}/models/chat@50")[1]) == models[1] and curl(f"{address}/models/chat@0")[0] == 404


def test_a_stream_says_what_the_whole_answer_says_and_the_seed_decides(address):
    whole = ask(address, CHAT)
    (choice,) = whole["choices"]
    content = choice["message"]["content"]
    parts = events(address, CHAT | {"stream_options": {"include_usage": True}})
    assert "".join(part["choices"][0]["delta"]["content"] for part in parts[:-1]) == content != ""
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant" and parts[-1]["usage"] == whole["usage"]
    assert parts[-2]["choices"][0]["finish_reason"] == choice["finish_reason"] in ("stop", "length")
    assert ask(address, CHAT | {"seed": 1})["choices"][0]["message"]["content"] != content
    text = {"model": "pretrained@50", "prompt": "w5 w6", "temperature": 0, "max_tokens": 4}
    answer = ask(address, text)
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert answer["choices"][0]["finish_reason"] == "length"
    assert "".join(part["choices"][0]["text"] for part in events(address, text)) == answer["choices"][0]["text"]
    second = answer["choices"][0]["text"].split()[1]
    assert ask(address, text | {"stop": second})["choices"][0]["finish_reason"] == "stop"


def test_the_text_is_the_one_that_the_terminal_shows(address, recipe):
    speaker = load_speaker("base", str(recipe.parent / "run/models/step-00050"), Choice())
    sampling = Sampling(new_tokens=9, temperature=5, seed=4)
    text = "".join(piece.text for piece in speak(speaker, text_ids(speaker, "w5 w6"), sampling))
    answer = ask(address, {"model": "pretrained@50", "prompt": "w5 w6", "seed": 4})
    assert answer["choices"][0]["text"] == text != ""


@pytest.mark.parametrize(
    "body, status, message",
    [
        (CHAT | {"model": "chat@0"}, 404, "no model 'chat@0' is served; choose from pretrained@50, chat@50"),
        (CHAT | {"model": "pretrained@50"}, 400, "pretrained@50 continues text: its tokenizer has no chat template"),
        (CHAT | {"tools": [{}]}, 400, "tools is not supported"),
        (CHAT | {"messages": [{"role": "user", "content": "w5 " * 70}]}, 400, "fill its 64 positions"),
        (CHAT | {"messages": 1}, 400, "messages should be a list"),
    ],
)
def test_what_cannot_be_done_is_refused_in_the_apis_shape(address, body, status, message):
    got, text = curl(f"{address}/chat/completions", body)
    assert got == status and message in json.loads(text)["error"]["message"]


def test_text_that_is_no_json_and_a_page_elsewhere_are_refused(address):
    assert "not JSON" in curl(f"{address}/completions", "{")[1]
    status, text = curl(f"{address}/models", None, "-H", "Host: evil.example")
    assert status == 401 and "evil.example is not this machine" in text


def test_other_machines_need_a_token(recipe):
    assert "serve.host 0.0.0.0 can be reached from elsewhere; set SNAKMODEL_TOKEN" in refused(
        "analyze/serve.py", "--config", recipe, "host=0.0.0.0"
    )
    server, address = start(recipe, "series=chat", SNAKMODEL_TOKEN="secret")
    try:
        port = address.rpartition(":")[2].removesuffix("/v1")
        taken = refused("analyze/serve.py", "--config", recipe, f"port={port}")
        assert f"cannot listen at 127.0.0.1:{port}" in taken and "choose another port" in taken
        for key, status in (("secret", 200), ("wrong", 401), ("", 401)):
            assert curl(f"{address}/models", None, "-H", f"Authorization: Bearer {key}")[0] == status
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0


@pytest.mark.parametrize(
    "more, message",
    [
        ({"n": 2}, "n 2 is not supported, only 1"),
        ({"temperature": -1}, "temperature should be at least 0, got -1"),
        ({"max_tokens": "many"}, "max_tokens should be int, got 'many'"),
        ({"logprobs": True}, "logprobs is not supported"),
        ({"stop": ["a", ""]}, "stop should be a text or up to 4 of them"),
        ({"messages": [{"role": "user"}]}, "a message should have a role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "content that is text"),
        ({"model": 3}, "model should be one text, got 3"),
    ],
)
def test_a_request_is_read_whole_or_refused(more, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        parse(CHAT | more, True, Sampling())


def test_what_has_no_effect_may_be_there_and_content_may_come_in_parts():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    more = {"user": "me", "n": 1, "logprobs": False, "tools": [], "seed": None, "max_completion_tokens": 3}
    body = {"model": "m", "messages": [{"role": "developer", "content": parts}], **more}
    wanted = parse(body, True, Sampling(seed=5))
    assert wanted.turns == [{"role": "system", "content": "ab"}]
    assert (wanted.sampling.seed, wanted.sampling.new_tokens, wanted.stream) == (5, 3, False)
