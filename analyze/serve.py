"""Serve checkpoints to any client of OpenAI's API, each as a model called SERIES@STEP, on this machine alone.

python analyze/serve.py --config configs/tiny.yaml series=[pretrained,all-r8-chat] steps=all
python analyze/serve.py models=ORG/NAME        # any model, a folder or from the Hub: no recipe is needed

Ctrl-C ends it. There are chat completions, completions and models, streamed or whole; what a request asks for beyond
that is refused. Requests are answered one after the other. docs/prompting.md has more.
"""

import asyncio
import hmac
import ipaddress
import json
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from analyze.openai_requests import Answer, Request, error, parse
from analyze.speakers import (
    WITHOUT_RUN,
    Choice,
    Piece,
    Sampling,
    Speaker,
    chat_ids,
    check_room,
    find_models,
    load_speaker,
    reply,
    speak,
    text_ids,
)
from snakmodel.config import BadInput, knob, read_command, run_script

TOKEN = "SNAKMODEL_TOKEN"  # of the environment: what clients must give as their API key


@dataclass
class Settings(Choice, Sampling):
    new_tokens: int = knob(256, "longest answer where a request does not say, in tokens", low=1)
    host: str = knob("127.0.0.1", f"address to listen at; any but this machine's own needs {TOKEN} in the environment")
    port: int = knob(8000, "port to listen at; 0: one that is free", low=0, high=65_535)
    in_memory: int = knob(1, "models held in memory: those that were asked last", low=1)


class Models:
    """The models that are served; those that were asked last are in memory."""

    def __init__(self, locations: dict[str, str], settings: Settings) -> None:
        self.locations, self.settings = locations, settings
        self.loaded: dict[str, Speaker] = {}  # the latest is the last

    def get(self, name: str) -> Speaker:
        """A model, loaded where it is not there."""
        speaker = self.loaded.pop(name, None)
        if speaker is None:
            while len(self.loaded) >= self.settings.in_memory:
                self.loaded.pop(next(iter(self.loaded)))  # before the new one: there may be no room for both
            speaker = load_speaker(name, self.locations[name], self.settings)
        self.loaded[name] = speaker
        return speaker


def prompt_of(speaker: Speaker, wanted: Request) -> list[int]:
    """The tokens that a request asks the model to go on from."""
    if wanted.turns is None:
        ids = text_ids(speaker, wanted.text)
    elif speaker.chats:
        ids = chat_ids(speaker, wanted.turns)
    else:
        raise BadInput(f"{speaker.name} {speaker.manner}; ask for /v1/completions")
    check_room(speaker, ids)
    return ids


def build_app(models: Models, token: str | None) -> Any:
    """The ASGI application. token: what clients must give; None: only those on this machine are heard."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import Request as HttpRequest
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route

    settings, one_at_a_time = models.settings, asyncio.Lock()
    defaults = Sampling(**{f.name: getattr(settings, f.name) for f in fields(Sampling)})
    cards = [{"id": name, "object": "model", "created": 0, "owned_by": "snakmodel"} for name in models.locations]

    async def list_models(http: HttpRequest) -> Response:
        return JSONResponse({"object": "list", "data": cards})

    async def show_model(http: HttpRequest) -> Response:
        for card in cards:
            if card["id"] == http.path_params["name"]:
                return JSONResponse(card)
        return not_served(http.path_params["name"])

    def not_served(name: str) -> Response:
        message = f"no model {name!r} is served; choose from {', '.join(models.locations)}"
        return JSONResponse(error(message, code="model_not_found"), 404)

    async def complete(http: HttpRequest) -> Any:
        try:
            body = await http.json()
            json.dumps(body, ensure_ascii=False).encode()  # half a surrogate pair, which JSON can spell, is no text
        except ValueError as fault:
            raise BadInput(f"the request is not JSON ({fault})") from None
        wanted = parse(body, http.url.path.endswith("/chat/completions"), defaults)
        if wanted.model not in models.locations:
            return not_served(wanted.model)
        answer = Answer(wanted)
        pieces = pieces_of(http, wanted, answer)
        first = await anext(pieces, None)  # what is wrong with the request is known by then
        if first is not None and wanted.stream:
            return stream(first, pieces, answer)
        whole = [first, *[piece async for piece in pieces]] if first is not None else []
        if not whole or whole[-1].end is None:
            return Response(status_code=499)  # nobody hears this: the client has gone
        return JSONResponse(answer.whole(whole))

    async def pieces_of(http: HttpRequest, wanted: Request, answer: Answer) -> AsyncGenerator[Piece]:
        """What a request's model says for as long as its client is there; other requests wait, to load theirs too."""
        say = speak if wanted.turns is None else reply
        async with one_at_a_time:
            if await http.is_disconnected():
                return
            speaker = await run_in_threadpool(models.get, wanted.model)
            ids = await run_in_threadpool(prompt_of, speaker, wanted)
            answer.prompt_tokens = len(ids)
            pieces = say(speaker, ids, wanted.sampling, wanted.stops)
            while not await http.is_disconnected():
                piece = await run_in_threadpool(next, pieces, None)
                if piece is None:
                    return
                yield piece

    def stream(first: Piece, pieces: AsyncGenerator[Piece], answer: Answer) -> Any:
        async def respond(scope: Any, receive: Any, send: Any) -> None:
            async with aclosing(pieces):  # or the other requests would wait for a client that has gone
                content = events(first, pieces, answer)
                await StreamingResponse(content, media_type="text/event-stream")(scope, receive, send)

        return respond

    async def events(first: Piece, pieces: AsyncGenerator[Piece], answer: Answer) -> AsyncIterator[str]:
        last = first
        try:
            yield as_event(answer.piece(first))
            async for last in pieces:
                yield as_event(answer.piece(last))
            if answer.request.include_usage:
                yield as_event(answer.last(last))
        except BadInput as fault:  # too late for another status
            yield as_event(error(str(fault), "server_error"))
        yield "data: [DONE]\n\n"

    async def refuse(http: HttpRequest, fault: Exception) -> Response:
        return JSONResponse(error(str(fault)), 400)

    async def no_such_place(http: HttpRequest, fault: Any) -> Response:
        return JSONResponse(error(f"{http.method} {http.url.path}: {fault.detail}"), fault.status_code, fault.headers)

    async def fail(http: HttpRequest, fault: Exception) -> Response:  # the traceback goes to the server's stderr
        return JSONResponse(error(f"{type(fault).__name__}: {fault}", "server_error"), 500)

    app = Starlette(
        routes=[
            Route("/v1/models", list_models),
            Route("/v1/models/{name:path}", show_model),
            Route("/v1/completions", complete, methods=["POST"]),
            Route("/v1/chat/completions", complete, methods=["POST"]),
        ],
        exception_handlers={BadInput: refuse, HTTPException: no_such_place, Exception: fail},
    )

    async def guard(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (reason := refusal(dict(scope["headers"]), token)) is not None:
            await JSONResponse(error(reason, "authentication_error"), 401)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return guard


def refusal(headers: dict[bytes, bytes], token: str | None) -> str | None:
    """Why a request is not heard, or None.

    Without a token it must be meant for this machine and come from here. A web page elsewhere could otherwise let its
    visitor's browser ask: under a name of its own that leads here (DNS rebinding), or with a plain POST, which a
    browser sends wherever a page wants; it says so in Origin and Sec-Fetch-Site.
    """
    if token is not None:
        given = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        return None if hmac.compare_digest(given, token.encode()) else f"the API key is not the server's {TOKEN}"
    host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
    if not is_local(host_of(f"//{host}")):
        return f"{host} is not this machine"
    if origin and not is_local(host_of(origin)) or headers.get(b"sec-fetch-site") == b"cross-site":
        return f"a web page of {origin or 'another site'} may not ask; set {TOKEN} for clients that are not local"
    return None


def host_of(address: str) -> str:
    """The host that an address names; empty where it is none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def as_event(content: dict[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def is_local(host: str) -> bool:
    """Whether only this machine can reach this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; one line where the address is taken or not ours."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as fault:
        raise BadInput(f"cannot listen at {host}:{port}: {fault.strerror}; choose another port, or 0") from None


def main() -> None:
    command = read_command(Settings, "serve", __doc__, config=WITHOUT_RUN)
    s, token = command.settings, os.environ.get(TOKEN)
    if not is_local(s.host) and not token:
        raise BadInput(f"serve.host {s.host} can be reached from elsewhere; set {TOKEN}, or take 127.0.0.1")
    models = Models(find_models(command, s), s)
    if command.check:
        print("\n".join(models.locations))
        return
    listener = listen(s.host, s.port)
    if len(models.locations) <= s.in_memory:  # what cannot be loaded is told at once
        for name in models.locations:
            models.get(name)
    import uvicorn  # late: what is wrong with the settings is said at once

    print(f"http://{s.host}:{listener.getsockname()[1]}/v1 serves {', '.join(models.locations)}", flush=True)
    config = uvicorn.Config(build_app(models, token), log_level="warning", timeout_graceful_shutdown=1)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    run_script(main)
