"""Greedy answers to many prompts at once; what all prompts begin with is read once.

Shapes: B prompts of a batch, T tokens of a row, P of the shared prefix, V vocabulary.
"""

import json
import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch

from snakmodel.likelihood import encode
from snakmodel.prompts import Turns, conversation_ids
from snakmodel.shared_prefix import check_finite, check_length, common_length, for_rows, read_prefix

MOST_ENTITIES = 5  # of a kind in an answer, as in ScandEval


def write_answers(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], most_tokens: int, stops: list[str], batch_tokens: int
) -> list[str]:
    """The likeliest token again and again, until the end of text, one of `stops`, or `most_tokens` tokens.

    An answer keeps its stop, less white space. batch_tokens: most tokens in a batch, prefix, padding and answers
    included, or one prompt. Raises BadInput where prompt and answer are longer than the model can read.
    """
    if not prompts:
        return []
    check_length(model, max(map(len, prompts)) + most_tokens)
    shared = common_length(prompts)
    prefix = read_prefix(model, prompts[0][:shared])
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))  # neighbours in length pad least
    answers = [""] * len(prompts)
    while order:
        rows = order[: max(1, batch_tokens // (len(prompts[order[0]]) + most_tokens))]
        batch = [prompts[index][shared:] for index in rows]
        for index, answer in zip(
            rows,
            write_batch(model, tokenizer, for_rows(prefix, len(rows)), shared, batch, most_tokens, stops),
            strict=True,
        ):
            answers[index] = answer
        order = order[len(rows) :]
    return answers


def write_lists(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str | Turns],
    names: list[str],
    most_tokens: int,
    window: int,
    batch_tokens: int,
) -> list[str]:
    """A JSON object of lists of texts in answer to each prompt, such as {"person": ["Ida"], "sted": []}.

    Names and brackets are given, as ScandEval's grammar forces them; what stands in a list is the model's, up to its
    closing bracket or an equal share of `most_tokens`. Of what is no JSON, the texts between quotes count. Where what
    was written has filled the window, a later list is asked for without the last texts before it; they still count.
    """
    objects: list[dict[str, list[str]]] = [{} for _ in prompts]
    room = max(1, most_tokens // len(names))
    for name in names:
        asked = [
            begun_ids(tokenizer, prompt, each, name, window - room)
            for prompt, each in zip(prompts, objects, strict=True)
        ]
        found = write_answers(model, tokenizer, asked, room, ["]", "\n"], batch_tokens)
        for each, written in zip(objects, found, strict=True):
            each[name] = re.findall(r'"([^"]+)"', written.partition("]")[0])[:MOST_ENTITIES]
    return [json.dumps(each, ensure_ascii=False) for each in objects]


def begun_ids(
    tokenizer: Any, prompt: str | Turns, written: dict[str, list[str]], name: str, most_tokens: int
) -> list[int]:
    """Token ids of a prompt and of its answer up to where the next list begins, as a reader meets both."""
    begun = begin_list(written, name)
    if isinstance(prompt, str):
        ids = encode(tokenizer, [f"{prompt} {begun}"])[0]
    else:  # what an answer that ends here and one that goes on have in common
        ended, longer = (
            conversation_ids(tokenizer, [*prompt, {"role": "assistant", "content": begun + more}])
            for more in ("", " x")
        )
        ids = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(ended, longer, strict=False))]
    longest = max(written, key=lambda each: len(written[each]), default=None)
    if len(ids) > most_tokens and longest is not None and written[longest]:
        shorter = written | {longest: written[longest][:-1]}
        return begun_ids(tokenizer, prompt, shorter, name, most_tokens)
    return ids


def begin_list(written: dict[str, list[str]], name: str) -> str:
    """A JSON object up to the opening bracket of its next list."""
    done = json.dumps(written, ensure_ascii=False).removesuffix("}")
    return f'{done}{", " if written else ""}"{name}": ['


def ends_of(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end an answer: the end of text, and those of turns that a chat model names besides."""
    named = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}


@torch.inference_mode()
def write_batch(
    model: Any, tokenizer: Any, cache: Any, shared: int, batch: list[list[int]], most_tokens: int, stops: list[str]
) -> list[str]:
    """write_answers of one batch: the prompts' own tokens, behind `shared` ones that the cache holds for each."""
    width = max(map(len, batch))
    tokens_BT = torch.tensor([[0] * (width - len(ids)) + ids for ids in batch], device=model.device)
    seen_BT = torch.tensor([[1] * shared + [0] * (width - len(ids)) + [1] * len(ids) for ids in batch])
    seen_BT = seen_BT.to(model.device)
    written: list[list[int]] = [[] for _ in batch]
    answers = [""] * len(batch)
    writing = list(range(len(batch)))  # the prompts whose rows are left
    ends = ends_of(model, tokenizer)
    while writing:
        positions_BT = (seen_BT.cumsum(1) - 1).clamp(min=0)[:, -tokens_BT.shape[1] :]
        logits_BV = model(
            input_ids=tokens_BT,
            attention_mask=seen_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]
        check_finite(logits_BV)
        going = []
        for row, (index, token) in enumerate(zip(writing, logits_BV.argmax(-1).tolist(), strict=True)):
            ended = token in ends
            if not ended:
                written[index].append(token)
            piece = tokenizer.decode([token])
            if ended or len(written[index]) == most_tokens or any(stop[-1] in piece for stop in stops):
                text = tokenizer.decode(written[index], skip_special_tokens=True)
                stopped = [text.find(stop) + len(stop) for stop in stops if stop in text]
                if ended or stopped or len(written[index]) == most_tokens:
                    answers[index] = text[: min(stopped, default=len(text))].strip()
                    continue
            going.append(row)
        if len(going) < len(writing):  # answers that have ended are computed no further
            writing = [writing[row] for row in going]
            kept = torch.tensor(going, device=model.device, dtype=torch.long)
            cache.batch_select_indices(kept)
            seen_BT = seen_BT[kept]
        if writing:
            tokens_BT = torch.tensor([[written[index][-1]] for index in writing], device=model.device)
            seen_BT = torch.cat([seen_BT, torch.ones_like(seen_BT[:, :1])], dim=1)
    return answers
