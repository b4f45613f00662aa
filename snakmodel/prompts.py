"""Instruction formats, defined once for tuning, prompting and scoring.

A format is a chat template (formats/*.jinja) and travels with the tokenizer; it turns a conversation into tokens:

    chat          Llama-2's, as SnakModel: `<s>[INST] question [/INST] answer</s>`, a system text in `<<SYS>>` marks
    alpaca        Danish headings: `### Instruktion:`, `### Input:` (where the question has one), `### Svar:`
    concatenated  `<s>question answer</s>`
    own           the template that the model's tokenizer comes with

A conversation is a list of turns {"role": "system" | "user" | "assistant", "content": ...}; the system's, if any, is
first, the others alternate. A user's turn may have `input`: the end of its content that is data rather than task.
"""

from pathlib import Path
from typing import Any, Literal

from jinja2 import TemplateError

from snakmodel.settings import BadInput

Format = Literal["chat", "alpaca", "concatenated", "own"]
Turns = list[dict[str, str]]
IGNORED = -100  # the label of what is read and not learnt


PLAIN = [{"role": "user", "content": "Hvor ligger Aarhus?"}, {"role": "assistant", "content": "I Jylland."}]


class NotLearnable(ValueError):
    """Why one conversation cannot be trained on; the reason is what its count is listed under."""


def set_format(tokenizer: Any, format: Format) -> None:
    """Gives a tokenizer the format's template; "own" must be there already."""
    if format != "own":
        template = Path(__file__).parent / f"formats/{format}.jinja"
        tokenizer.chat_template = "".join(template.read_text(encoding="utf-8").splitlines())
    elif not tokenizer.chat_template:
        raise BadInput(f"format: own, but the tokenizer {tokenizer.name_or_path} has no chat template; take chat")


def prompt_ids(tokenizer: Any, turns: Turns) -> list[int]:
    """Token ids up to where the next answer begins."""
    return tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False, add_generation_prompt=True)


def conversation_ids(tokenizer: Any, turns: Turns) -> list[int]:
    """Token ids of a conversation, its answers and their ends included."""
    return tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)


def training_ids(tokenizer: Any, turns: Turns) -> tuple[list[int], list[int]]:
    """Token ids of a whole conversation, and their labels: its answers, each with its end of text; IGNORED elsewhere.

    Holds the contract of training and prompting, for every answer: what is learnt stands behind the very tokens that
    prompting gives, the format's first token is not doubled, and the model learns to stop. Raises NotLearnable.
    """
    whole: list[int] = []
    labels: list[int] = []
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    if any(token in turn["content"] for turn in turns for token in special):
        raise NotLearnable("spells out special tokens")  # "<s>" is also how a web page strikes words out
    for number, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        before = prompt_ids(tokenizer, turns[:number])
        after = conversation_ids(tokenizer, turns[: number + 1])
        if before[: len(whole)] != whole or after[: len(before)] != before:
            raise NotLearnable("an answer changes the tokens before it")
        asked, answered = before[len(whole) :], after[len(before) :]
        if eos not in answered:
            raise BadInput("the format does not end an answer with the tokenizer's end of text: it would never stop")
        end = len(answered) - answered[::-1].index(eos)  # some formats end a line after it
        text = answered[
            : end - 1
        ]  # without its end, which is also the beginning where a tokenizer has one token for both
        if bos is not None and not whole and asked[0] != bos:
            raise BadInput(f"the format does not begin with {tokenizer.bos_token}, which opens every text")
        if bos in asked[1:] + text + answered[end:] or eos in text:
            raise NotLearnable("has a beginning or an end of text within")
        whole, labels = after, labels + [IGNORED] * len(asked) + answered[:end] + [IGNORED] * (len(answered) - end)
    if not whole:
        raise NotLearnable("has no answer")
    return whole, labels


def check_contract(tokenizer: Any, where: str) -> None:
    """Refuses a format that cannot train on a plain question and answer, before any work is done with it."""
    try:
        training_ids(tokenizer, PLAIN)
    except (NotLearnable, TemplateError) as reason:
        raise BadInput(f"{where}: a plain question and answer {reason}; correct the template, or take chat") from None
    except BadInput as reason:
        raise BadInput(f"{where}: {reason}") from None
