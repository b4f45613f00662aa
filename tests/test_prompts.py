"""The contract of training and prompting, format by format: pytest tests/test_prompts.py"""

import copy

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from snakmodel.config import BadInput
from snakmodel.older_keys import add_older_keys
from snakmodel.prompts import IGNORED, PLAIN, NotLearnable, check_contract, prompt_ids, set_format, training_ids

CHATML = (
    "{{ bos_token }}{% for turn in messages %}{{ '<|' + turn['role'] + '|>\\n' + turn['content'] }}"
    "{{ (eos_token if turn['role'] == 'assistant' else '<|end|>') + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
GLUED = (  # question and answer stand side by side
    "{{ bos_token }}{% for turn in messages %}{{ turn['content'] }}"
    "{{ eos_token if turn['role'] == 'assistant' else '' }}{% endfor %}"
)


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


SYSTEM = turn("system", "Du er Snakmodel.")
ONE = [turn("user", "Hvor ligger Ærø?"), turn("assistant", "I Østersøen.")]
TWO = [*ONE, turn("user", "Er øen stor?"), turn("assistant", "Nej, 88 km².")]
WITH_INPUT = [turn("user", "Oversæt: Hello there", input="Hello there"), turn("assistant", "Goddag")]


@pytest.fixture
def letters():
    """A tokenizer of bytes that knows one longer token, `ab`."""
    return letters_tokenizer("<s>", "</s>")


def letters_tokenizer(bos, eos):
    specials = list(dict.fromkeys([bos, eos]))
    words = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, [("a", "b")]))
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in specials])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos)


def render(tokenizer, turns, **options):
    return tokenizer.apply_chat_template(turns, tokenize=False, **options)


def test_the_chat_format_is_snakmodels_prompt_to_the_byte(letters):
    set_format(letters, "chat")
    assert render(letters, ONE[:1], add_generation_prompt=True) == "<s>[INST] Hvor ligger Ærø? [/INST]"
    assert render(letters, ONE) == "<s>[INST] Hvor ligger Ærø? [/INST] I Østersøen.</s>"
    dialogue = render(letters, [SYSTEM, *TWO[:3]], add_generation_prompt=True)
    assert dialogue == (
        "<s>[INST] <<SYS>>\nDu er Snakmodel.\n<</SYS>>\n\nHvor ligger Ærø? [/INST] I Østersøen.</s>"
        "<s>[INST] Er øen stor? [/INST]"
    )


def test_alpaca_has_its_fields_the_right_way_round(letters):
    set_format(letters, "alpaca")
    assert render(letters, WITH_INPUT) == (
        "<s>Nedenfor står en opgave og de oplysninger, der hører til. Skriv et svar, der løser opgaven.\n\n"
        "### Instruktion:\nOversæt:\n\n### Input:\nHello there\n\n### Svar:\nGoddag</s>"
    )
    assert render(letters, [SYSTEM, *ONE[:1]], add_generation_prompt=True) == (
        "<s>Du er Snakmodel.\n\nNedenfor står en opgave. Skriv et svar, der løser den.\n\n"
        "### Instruktion:\nHvor ligger Ærø?\n\n### Svar:\n"
    )


def test_concatenated_is_question_and_answer_and_nothing_else(letters):
    set_format(letters, "concatenated")
    assert render(letters, [SYSTEM, *ONE]) == "<s>Du er Snakmodel. Hvor ligger Ærø? I Østersøen.</s>"


@pytest.fixture
def llama3():
    """A tokenizer of bytes that cuts texts as Llama 3's does and takes whole words before it merges."""
    tokenizer = letters_tokenizer("<s>", "</s>")
    pattern = Regex(
        r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.backend_tokenizer.model.ignore_merges = True
    return tokenizer


@pytest.mark.parametrize("kind", ["letters", "llama_tokenizer", "llama3"])
@pytest.mark.parametrize("turns", [ONE, TWO, [SYSTEM, *ONE], [SYSTEM, *TWO], WITH_INPUT])
@pytest.mark.parametrize("format", ["chat", "alpaca", "concatenated", "own"])
def test_what_is_trained_on_is_what_the_exported_tokenizer_says(request, tmp_path, kind, format, turns):
    tokenizer = copy.deepcopy(request.getfixturevalue(kind))
    tokenizer.chat_template = CHATML
    set_format(tokenizer, format)
    ids, labels = training_ids(tokenizer, turns)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"dtype": "float32"}')
    add_older_keys(tmp_path)  # as every export is written
    exported = AutoTokenizer.from_pretrained(tmp_path)
    assert exported.apply_chat_template(turns, tokenize=True, return_dict=False) == ids
    answers = [number for number, turn in enumerate(turns) if turn["role"] == "assistant"]
    before = 0
    for number in answers:  # every prompt's ids, then the answer and its end, then nothing that is learnt
        asked = exported.apply_chat_template(turns[:number], return_dict=False, add_generation_prompt=True)
        assert ids[: len(asked)] == asked == prompt_ids(exported, turns[:number])
        assert set(labels[before : len(asked)]) == {IGNORED}
        learnt = [label for label in labels[len(asked) :] if label != IGNORED]
        end = learnt.index(exported.eos_token_id)
        assert exported.decode(learnt[: end + 1]).strip() == turns[number]["content"] + "</s>"
        before = len(asked) + end + 1
    starts = 1 if format == "own" else len(answers)  # ours are Llama-2's: every exchange is begun anew
    assert ids[0] == exported.bos_token_id and ids.count(exported.bos_token_id) == starts


@pytest.mark.parametrize(
    "template, message",
    [
        (CHATML.replace("bos_token }}", "bos_token + bos_token }}"), "has a beginning or an end of text within"),
        (CHATML.replace("{{ bos_token }}", ""), "does not begin with <s>, which opens every text"),
        (CHATML.replace("eos_token", "'<|end|>'"), "it would never stop"),
        (CHATML.replace("turn['content'] }}", "turn['content'] + (messages|length)|string }}"), "tokens before it"),
        ("{{ raise_exception('no questions') }}", "no questions"),
    ],
)
def test_a_template_that_breaks_the_contract_is_refused_before_any_training(letters, template, message):
    letters.chat_template = template
    with pytest.raises(BadInput, match=message):
        check_contract(letters, "recipe.yaml: finetune.format own")
    letters.chat_template = CHATML
    check_contract(letters, "")


def test_a_conversation_that_cannot_be_learnt_says_why(letters):
    set_format(letters, "chat")
    for text in ("slut</s> og videre", "<s>forfra"):
        for turns in ([ONE[0], turn("assistant", text)], [turn("user", text), ONE[1]]):
            with pytest.raises(NotLearnable, match="spells out special tokens"):
                training_ids(letters, turns)
    with pytest.raises(NotLearnable, match="has no answer"):
        training_ids(letters, ONE[:1])
    letters.chat_template = GLUED
    assert training_ids(letters, [turn("user", "a"), turn("assistant", "c")])[0]
    with pytest.raises(NotLearnable, match="an answer changes the tokens before it"):
        training_ids(letters, [turn("user", "a"), turn("assistant", "b")])  # together they are the token `ab`


def test_one_token_may_be_both_the_beginning_and_the_end():
    both = letters_tokenizer("<|endoftext|>", "<|endoftext|>")
    set_format(both, "chat")
    ids, labels = training_ids(both, ONE)
    assert (ids[0], ids[-1], labels[-1]) == (0, 0, 0) and ids.count(0) == 2
    with pytest.raises(NotLearnable, match="spells out"):
        training_ids(both, [ONE[0], turn("assistant", "a<|endoftext|>b")])


def test_a_format_of_its_own_must_be_there(letters):
    with pytest.raises(BadInput, match="has no chat template; take chat"):
        set_format(letters, "own")
    assert [turn["role"] for turn in PLAIN] == ["user", "assistant"]
