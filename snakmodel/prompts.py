"""Instruction formats, defined once for tuning, prompting and scoring.

The chat format is Llama-2's, as SnakModel's: `<s>[INST] question [/INST] answer</s>`, with a system text in
`<<SYS>>` marks at the head of the first question. It travels as the tokenizer's chat template.
"""

from typing import Any

CHAT_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{% for turn in turns %}"
    "{% if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns must alternate user, assistant, user, ...') }}{% endif %}"
    "{% if turn['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + (system if loop.first else '') + turn['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + turn['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)


def chat_ids(tokenizer: Any, question: str, answer: str | None = None) -> list[int]:
    """Token ids of one turn: up to where the answer begins, or with the answer and end-of-text."""
    turns = [{"role": "user", "content": question}]
    if answer is not None:
        turns.append({"role": "assistant", "content": answer})
    return tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False, add_generation_prompt=answer is None)


def answer_labels(prompt: list[int], whole: list[int], ignored: int = -100) -> list[int]:
    """Labels that put the loss on the answer only; refuses (ValueError) an answer that changed its prompt's tokens."""
    if whole[: len(prompt)] != prompt:
        raise ValueError("the answer's first letters changed the prompt's tokens")
    return [ignored] * len(prompt) + whole[len(prompt) :]
