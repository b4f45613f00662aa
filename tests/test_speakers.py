"""Models that speak, against planted answers: pytest tests/test_speakers.py"""

import pytest
import torch
from conftest import small_model
from scipy.stats import chisquare
from test_prompts import letters_tokenizer
from transformers import AutoTokenizer

from analyze.conversation import Conversation
from analyze.speakers import MOST_SEED, Sampling, Speaker, change, room, speak, text_ids
from snakmodel.config import BadInput

LONG = 4_000  # tokens: seconds
TEMPERATURE = 2  # at top_p 0.5 it leaves eleven tokens, the likeliest seven times as probable as the least


def chatty_model(seed):
    """A model that does not end by itself."""
    model = small_model(seed, max_position_embeddings=LONG + 200)
    with torch.no_grad():
        model.lm_head.weight.mul_(40)
        model.lm_head.weight[:3] = 0  # special tokens
    return model


@pytest.fixture(scope="module")
def speakers(tokenizer):
    """Two base models and a chatting one."""
    plain = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    models = {"base@0": (0, plain), "base@50": (50, plain), "chat@50": (50, tokenizer)}
    return {name: Speaker(name, chatty_model(seed), names) for name, (seed, names) in models.items()}


def said(speaker, prompt, sampling, **options):
    return "".join(piece.text for piece in speak(speaker, text_ids(speaker, prompt), sampling, **options))


def test_without_temperature_the_text_is_the_librarys_greedy_one(speakers):
    speaker = speakers["base@0"]
    ids = text_ids(speaker, "w5 w6 w7")
    (expected,) = speaker.model.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)
    *pieces, last = speak(speaker, ids, Sampling(new_tokens=20, temperature=0))
    text = "".join(piece.text for piece in [*pieces, last])
    assert text == " " + speaker.tokenizer.decode(expected[len(ids) :]) and (last.tokens, last.end) == (20, "length")


def test_draws_have_the_frequencies_of_the_softmax_cut_at_top_p(speakers):
    speaker, draws, top_p = speakers["base@0"], 400, 0.5
    ids = text_ids(speaker, "w9")
    with torch.inference_mode():
        p_V = (speaker.model(torch.tensor([ids])).logits[0, -1] / TEMPERATURE).softmax(-1)
    order = p_V.argsort(descending=True)
    kept = order[: int((p_V[order].cumsum(0) < top_p).sum()) + 1]
    drawn = [said(speaker, "w9", Sampling(1, TEMPERATURE, top_p, seed)).strip() for seed in range(draws)]
    words = speaker.tokenizer.convert_ids_to_tokens(kept.tolist())
    assert set(drawn) <= set(words) and len(kept) == 11
    counts = [drawn.count(word) for word in words]
    expected = (draws * p_V[kept] / p_V[kept].sum()).double().numpy()
    assert chisquare(counts, expected * draws / expected.sum()).pvalue > 0.01
    assert chisquare(counts).pvalue < 1e-6  # they are far from all alike


def test_a_temperature_near_zero_is_that_of_the_likeliest_token(speakers):
    greedy = said(speakers["base@0"], "w5", Sampling(8, 0))
    assert {said(speakers["base@0"], "w5", Sampling(8, t)) for t in (5e-324, 1e-320, 1e-40, 1e-9)} == {greedy}
    with pytest.raises(BadInput, match="/seed should be at most 9223372036854775807, got 99999"):
        change(Sampling(), "seed", "99999999999999999999999", "/seed")
    assert said(speakers["base@0"], "w5", Sampling(2, 3, seed=MOST_SEED))


def test_the_same_prompt_and_seed_give_the_same_text_alone_and_in_turns_with_others(speakers):
    sampling = Sampling(new_tokens=12, temperature=3)
    alone = {name: said(speaker, "w5", sampling) for name, speaker in speakers.items()}
    streams = {name: speak(speaker, text_ids(speaker, "w5"), sampling) for name, speaker in speakers.items()}
    together = dict.fromkeys(streams, "")
    for _ in range(13):
        for name, stream in streams.items():
            together[name] += next(stream).text
    assert together == alone and len(set(alone.values())) > 1
    assert said(speakers["base@0"], "w5", Sampling(12, 3, seed=1)) != alone["base@0"]


def test_a_text_ends_before_the_first_stop_and_no_piece_shows_a_beginning_of_one(speakers):
    speaker, sampling = speakers["base@50"], Sampling(new_tokens=30)
    whole = said(speaker, "w5", sampling)
    words = whole.split()
    stop = f"{words[10]} {words[11]}"
    ids = text_ids(speaker, "w5")
    pieces = list(speak(speaker, ids, sampling, stops=("never", stop)))
    text = "".join(piece.text for piece in pieces)
    assert whole.startswith(text) and text == whole[: whole.index(stop)] and pieces[-1].end == "stop"


def test_a_piece_never_ends_in_the_middle_of_a_character(tmp_path):
    names, text = letters_tokenizer("<s>", "</s>"), "så spiste vi rødgrød 🍓 med fløde"
    ids_BT = torch.tensor([[names.bos_token_id, *names(text).input_ids, names.eos_token_id]])
    model = small_model(0, vocab_size=len(names))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        model(ids_BT, labels=ids_BT).loss.backward()
        optimizer.step()
    speaker = Speaker("letters", model.eval(), names)
    pieces = list(speak(speaker, text_ids(speaker, "så "), Sampling(temperature=0)))
    assert "".join(piece.text for piece in pieces) == text.removeprefix("så ")
    assert pieces[-1].end == "stop" and "🍓" in [piece.text for piece in pieces]


def test_oldest_exchanges_make_room_for_new_ones_and_it_is_told(speakers):
    speaker = speakers["chat@50"]
    talk = Conversation(Sampling(new_tokens=LONG), system="w3")
    for number in range(40):
        talk.add(" ".join(["w5"] * 60), {"chat@50": " ".join([f"w{number + 10}"] * 60)})
    pieces, skipped = talk.ask(speaker, "w7")
    turns = talk.turns("chat@50", "w7", talk.exchanges[skipped:])
    assert 0 < skipped < 40 and turns[0]["role"] == "system" and next(pieces).text
    assert turns[2]["content"].startswith(f"w{skipped + 10} ")
    with pytest.raises(BadInput, match="5001 tokens fill its 4200 positions; shorten the prompt"):
        next(speak(speaker, text_ids(speaker, "w5 " * 5000), talk.sampling))
    assert room(speaker, []) == 4200
