"""The endpoint for clients of OpenAI's API, asked by curl: pytest tests/test_serve.py"""

import asyncio
import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
import weakref

import pytest
from conftest import ROOT, SMALL, refused, save_step, script, small_model, write_recipe
from transformers import AutoTokenizer

from analyze import serve
from analyze.speakers import Choice, Sampling, load_speaker, speak, text_ids
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
    for body in ("{", '{"model": "pretrained@50", "prompt": "\\ud800"}'):
        status, text = curl(f"{address}/completions", body)
        assert status == 400 and "not JSON" in text
    status, text = curl(f"{address}/models", None, "-H", "Host: evil.example")
    assert status == 401 and "evil.example is not this machine" in text


def test_a_web_page_cannot_ask_in_its_visitors_name_and_one_of_this_machine_can(address):
    """A page may send a POST of plain text anywhere; browsers say where it comes from."""
    body = json.dumps({"model": "pretrained@50", "prompt": "w5", "max_tokens": 2})

    def status_of(*headers):
        options = [word for header in headers for word in ("-H", header)]
        status, text = curl(f"{address}/completions", body, "-H", "Content-Type: text/plain", *options)
        assert status == 200 or json.loads(text)["error"]["type"] == "authentication_error"
        return status

    assert status_of() == 200
    for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example", "http://[", "file://"):
        assert status_of(f"Origin: {origin}") == 401
    assert status_of("Sec-Fetch-Site: cross-site") == 401
    for origin in ("http://localhost:3000", "http://127.0.0.1:8000", "http://[::1]:1"):
        assert status_of(f"Origin: {origin}", "Sec-Fetch-Site: same-site") == 200
    for host in ("[", "", "127.0.0.1.evil.example", "[::1"):
        assert status_of(f"Host: {host}" if host else "Host;") in (400, 401)


def test_a_path_or_method_that_is_not_there_is_refused_in_the_apis_shape(address):
    assert json.loads(curl(f"{address}/embeddings", "{}")[1])["error"]["message"] == "POST /v1/embeddings: Not Found"
    status, text = curl(f"{address}/completions")
    assert status == 405 and "Method Not Allowed" in json.loads(text)["error"]["message"]


class Client:
    """A client of the application in this process: it sends a request, and goes when it likes."""

    def __init__(self, body):
        chat = "chat/" if "messages" in body else ""
        self.scope = {"type": "http", "asgi": {"spec_version": "2.3"}, "http_version": "1.1", "method": "POST"}
        self.scope |= {"path": f"/v1/{chat}completions", "query_string": b"", "headers": [(b"host", b"localhost")]}
        self.body, self.asked, self.got, self.gone = json.dumps(body).encode(), False, [], asyncio.Event()

    async def receive(self):
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.got.append(message)

    async def call(self, app):
        await app(self.scope, self.receive, self.send)
        return b"".join(message.get("body", b"") for message in self.got).decode()


@pytest.fixture
def models(recipe):
    """Three models, of which one is held in memory."""
    run = recipe.parent / "run"
    places = {"pretrained@0": "models/step-00000", "pretrained@50": "models/step-00050"}
    places["chat@50"] = "instruct/chat/step-00050"
    settings = serve.Settings(in_memory=1, new_tokens=9, temperature=5)
    return serve.Models({name: str(run / place) for name, place in places.items()}, settings)


def test_concurrent_requests_for_several_models_hold_one_at_a_time(models, monkeypatch):
    load, held, most = serve.load_speaker, [], []

    def watched(name, location, choice):
        gc.collect()
        most.append(sum(model() is not None for model in held))
        speaker = load(name, location, choice)
        held.append(weakref.ref(speaker.model))
        return speaker

    monkeypatch.setattr(serve, "load_speaker", watched)
    texts = [{"model": name, "prompt": "w5 w6"} for name in ("pretrained@0", "pretrained@50")]
    bodies = [body | {"stream": streamed} for streamed in (True, False) for body in [*texts, CHAT]]

    async def ask_all():
        app = serve.build_app(models, None)
        together = await asyncio.gather(*(Client(body).call(app) for body in bodies))
        alone = [await Client(body).call(app) for body in bodies]
        return together, alone

    together, alone = asyncio.run(ask_all())
    assert most and max(most) == 0, most  # no other model is there when one is loaded
    assert [said(answer) for answer in together] == [said(answer) for answer in alone] and all(map(said, alone))


def test_what_goes_wrong_here_is_told_in_the_apis_shape_and_raised_for_the_servers_log(models):
    client = Client({})
    client.body = b"[" * 100_000
    with pytest.raises(RecursionError):
        asyncio.run(client.call(serve.build_app(models, None)))
    start, content = client.got
    assert start["status"] == 500 and json.loads(content["body"])["error"]["type"] == "server_error"


def said(answer):
    """The text of an answer, whole or streamed."""
    parts = [json.loads(event) for event in answer.replace("data: ", "").split("\n\n") if event not in ("", "[DONE]")]
    choices = [part["choices"][0] for part in parts]
    turns = [choice.get("message") or choice.get("delta") for choice in choices]
    return "".join(turn["content"] if turn else choice["text"] for turn, choice in zip(turns, choices, strict=True))


@pytest.mark.parametrize("streamed", [False, True])
def test_nothing_more_is_written_for_a_client_that_has_gone(models, monkeypatch, streamed):
    speak_on, pieces = serve.speak, []
    body = {"model": "pretrained@50", "prompt": "w5 w6", "max_tokens": 40, "stream": streamed}
    leaves = Client(body)

    def counted(*words):
        for piece in speak_on(*words):
            pieces.append(piece)
            if len(pieces) == 3:
                loop.call_soon_threadsafe(leaves.gone.set)
                time.sleep(0.2)  # until it has
            yield piece

    monkeypatch.setattr(serve, "speak", counted)

    async def ask_both():
        app = serve.build_app(models, None)
        late = Client(body | {"max_tokens": 2})
        return await asyncio.wait_for(asyncio.gather(leaves.call(app), late.call(app)), 60)

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        _, answer = runner.run(ask_both())
    assert len(pieces) < 10 and pieces[2].end is None and len(said(answer).split()) == 2
    if not streamed:
        assert leaves.got[0]["status"] == 499


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
