"""Requests in the shapes of OpenAI's API: pytest tests/test_openai_requests.py"""

import re

import pytest

from analyze.openai_requests import parse
from analyze.speakers import Sampling
from snakmodel.config import BadInput

CHAT = {"model": "chat@50", "messages": [{"role": "user", "content": "w5 w6"}]}


@pytest.mark.parametrize(
    "more, message",
    [
        ({"n": 2}, "n 2 is not supported, only 1"),
        ({"temperature": -1}, "temperature should be at least 0, got -1"),
        ({"seed": 2**70}, "seed should be at most 9223372036854775807, got 1180591620717411303424"),
        ({"seed": 10**400}, "seed should be int, got 1000"),
        ({"temperature": 10**400}, "temperature should be float, got 1000"),
        ({"stream": 1}, "stream should be true or false, got 1"),
        ({"stream": "true"}, "stream should be true or false, got 'true'"),
        ({"stream_options": {"include_usage": "yes"}}, "include_usage should be true or false, got 'yes'"),
        ({"stream_options": True}, "stream_options should be an object, got True"),
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
