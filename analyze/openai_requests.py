"""Requests and answers in the shapes of OpenAI's API (https://platform.openai.com/docs/api-reference).

Of a request, what cannot be done is refused rather than left out.
"""

import time
import uuid
from dataclasses import dataclass
from typing import Any

from analyze.speakers import Piece, Sampling, change
from snakmodel.prompts import Turns
from snakmodel.settings import BadInput

TAKEN = ("model", "messages", "prompt", "stream", "stream_options", "stop")
SAMPLING = {"max_tokens": "new_tokens", "max_completion_tokens": "new_tokens"} | {
    name: name for name in ("temperature", "top_p", "seed")
}
ONLY = {"n": 1, "best_of": 1, "presence_penalty": 0, "frequency_penalty": 0, "response_format": {"type": "text"}}
WITHOUT_EFFECT = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")
MOST_STOPS = 4


@dataclass(frozen=True)
class Request:
    """What a client wants."""

    model: str
    turns: Turns | None  # of a chat
    text: str  # to continue, where it is no chat
    sampling: Sampling
    stops: tuple[str, ...]
    stream: bool
    include_usage: bool  # in a stream


def parse(body: Any, chat: bool, defaults: Sampling) -> Request:
    """A request for a (chat) completion; raises BadInput where it is none, or asks for what is not here."""
    if not isinstance(body, dict):
        raise BadInput("the request should be a JSON object")
    given = {name: value for name, value in body.items() if value is not None and name not in WITHOUT_EFFECT}
    for name, value in given.items():
        if name in ONLY and value != ONLY[name]:
            raise BadInput(f"{name} {value!r} is not supported, only {ONLY[name]!r}")
        if name not in (*TAKEN, *SAMPLING, *ONLY) and value not in (False, 0, [], {}):
            raise BadInput(f"{name} is not supported")
    sampling = defaults
    for name, ours in SAMPLING.items():
        if name in given:
            sampling = change(sampling, ours, given[name], name)
    options = given.get("stream_options", {})
    if not isinstance(options, dict):
        raise BadInput(f"stream_options should be an object, got {options!r}")
    return Request(
        model=text_of(given, "model"),
        turns=[turn(message) for message in messages_of(given)] if chat else None,
        text="" if chat else text_of(given, "prompt"),
        sampling=sampling,
        stops=stops_of(given.get("stop", [])),
        stream=flag_of(given, "stream"),
        include_usage=flag_of(options, "include_usage"),
    )


def text_of(given: dict[str, Any], name: str) -> str:
    """A part of the request that must be text."""
    if not isinstance(given.get(name), str):
        raise BadInput(f"{name} should be one text, got {given.get(name)!r}")
    return str(given[name])


def flag_of(given: dict[str, Any], name: str) -> bool:
    """A part of the request that must be true or false; false where it is left out."""
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadInput(f"{name} should be true or false, got {value!r}")
    return bool(value)


def messages_of(given: dict[str, Any]) -> list[Any]:
    """The messages of a chat."""
    messages = given.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadInput(f"messages should be a list of messages, got {messages!r}")
    return messages


def turn(message: Any) -> dict[str, str]:
    """One message as a turn; its content may come in parts that are text."""
    role, content = (message.get(key) if isinstance(message, dict) else None for key in ("role", "content"))
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        content = "".join(map(str, parts)) if all(isinstance(part, str) for part in parts) else None
    if role not in ("system", "developer", "user", "assistant") or not isinstance(content, str):
        raise BadInput(f"a message should have a role (system, user, assistant) and content that is text: {message!r}")
    return {"role": "system" if role == "developer" else role, "content": content}


def stops_of(stop: Any) -> tuple[str, ...]:
    """The texts at which an answer ends."""
    stops = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, list) else (None,)
    if len(stops) > MOST_STOPS or not all(isinstance(s, str) and s for s in stops):
        raise BadInput(f"stop should be a text or up to {MOST_STOPS} of them, got {stop!r}")
    return stops


class Answer:
    """The shapes of one answer: whole, and in pieces."""

    def __init__(self, request: Request) -> None:
        self.request, self.chat, self.begun = request, request.turns is not None, False
        self.prompt_tokens = 0  # as long as the model that counts them is not there
        self.kind, id = ("chat.completion", "chatcmpl") if self.chat else ("text_completion", "cmpl")
        self.head = {"id": f"{id}-{uuid.uuid4().hex}", "created": int(time.time()), "model": request.model}

    def whole(self, pieces: list[Piece]) -> dict[str, Any]:
        """The answer in one piece."""
        text, last = "".join(piece.text for piece in pieces), pieces[-1]
        said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": last.end}
        return {**self.head, "object": self.kind, "choices": [choice], "usage": self.usage(last)}

    def piece(self, piece: Piece) -> dict[str, Any]:
        """A piece of the answer; the first of a chat says whose it is."""
        delta = {"content": piece.text} if self.begun else {"role": "assistant", "content": piece.text}
        self.begun = True
        said: dict[str, Any] = {"delta": delta} if self.chat else {"text": piece.text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": piece.end}
        return {**self.head, "object": self.kind + (".chunk" if self.chat else ""), "choices": [choice]}

    def last(self, piece: Piece) -> dict[str, Any]:
        """What follows a stream where its client wants to know the usage."""
        return {**self.piece(piece), "choices": [], "usage": self.usage(piece)}

    def usage(self, last: Piece) -> dict[str, int]:
        """The tokens of prompt and answer."""
        total = self.prompt_tokens + last.tokens
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": last.tokens, "total_tokens": total}


def error(message: str, kind: str = "invalid_request_error", code: str | None = None) -> dict[str, Any]:
    """A refusal."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
