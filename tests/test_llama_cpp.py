"""llama.cpp itself reads our GGUF files: make gguf, which builds it, or pytest tests/test_llama_cpp.py after that"""

import json
import subprocess

import pytest
import torch
from conftest import ROOT, small_model
from test_gguf import SENTENCES, SPACE_FIRST, TEXTS, VOCABULARY

from finetune.gguf_file import write_gguf
from snakmodel.prompts import prompt_ids, set_format

PYTHON = ROOT / ".venv-gguf/bin/python"
pytestmark = pytest.mark.skipif(not PYTHON.is_file(), reason="llama-cpp-python is not there; make gguf builds it")
READER = """
import json, sys
from itertools import islice
from llama_cpp import Llama

asked = json.load(sys.stdin)
model = Llama(asked["path"], n_ctx=64, n_threads=1, verbose=False)
texts = [model.tokenize(text.encode(), add_bos=True, special=False) for text in asked["texts"]]
chats = [model.tokenize(text.encode(), add_bos=False, special=True) for text in asked["chats"]]
greedy = [list(islice(model.generate(ids, temp=0.0), asked["length"])) for ids in asked["prompts"]]
print(json.dumps({"texts": texts, "chats": chats, "greedy": greedy}))
"""


def ask(path, **asked):
    """What llama.cpp makes of texts and prompts with the model in `path`."""
    asked = {"texts": [], "chats": [], "prompts": [], "length": 16} | asked | {"path": str(path)}
    done = subprocess.run([PYTHON, "-c", READER], input=json.dumps(asked), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def model(llama_tokenizer):
    """A small model that has learnt the sentences by heart, so that its likeliest tokens are clear."""
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = small_model(7, **sizes).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    batches = [torch.tensor([llama_tokenizer(text).input_ids]) for text in SENTENCES]
    for _ in range(40):
        for ids in batches:
            model(input_ids=ids, labels=ids).loss.backward()
            optimiser.step()
            optimiser.zero_grad()
    return model.eval()


def continuation(model, ids, length=16):
    """The likeliest tokens after these, one after the other."""
    out = []
    with torch.no_grad():
        for _ in range(length):
            out.append(int(model(input_ids=torch.tensor([ids + out])).logits[0, -1].argmax()))
    return out


def test_llama_cpp_cuts_texts_as_transformers_does_and_says_the_same(model, llama_tokenizer, tmp_path):
    model.save_pretrained(tmp_path)
    llama_tokenizer.save_pretrained(tmp_path)
    write_gguf(tmp_path, tmp_path / "f16.gguf", "gguf-f16", "x")
    write_gguf(tmp_path, tmp_path / "q8.gguf", "gguf-q8_0", "x")
    texts = [*TEXTS, *SENTENCES]
    prompts = [llama_tokenizer(" ".join(text.split()[:2])).input_ids for text in SENTENCES]
    said = ask(tmp_path / "f16.gguf", texts=texts, prompts=prompts)
    assert said["texts"] == [llama_tokenizer(text).input_ids for text in texts]
    assert said["greedy"] == [continuation(model, ids) for ids in prompts]
    assert llama_tokenizer.decode(said["greedy"][0]).startswith("ved fjorden, og")
    assert ask(tmp_path / "q8.gguf", texts=texts)["texts"] == said["texts"]


def test_llama_cpp_cuts_a_chat_as_it_was_trained(model, llama_tokenizer, tmp_path):
    set_format(llama_tokenizer, "chat")
    model.save_pretrained(tmp_path)
    llama_tokenizer.save_pretrained(tmp_path)
    write_gguf(tmp_path, tmp_path / "chat.gguf", "gguf-f16", "x")
    talk = [{"role": "system", "content": "Svar kort."}, {"role": "user", "content": "Hvor?"}]
    talk += [{"role": "assistant", "content": "På Ærø."}, {"role": "user", "content": "Hvad så?"}]
    conversations = [[{"role": "user", "content": text}] for text in (*TEXTS, SPACE_FIRST)] + [talk]
    rendered = [
        llama_tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        for turns in conversations
    ]
    expected = [prompt_ids(llama_tokenizer, turns) for turns in conversations]
    llama_tokenizer.chat_template = None
    assert ask(tmp_path / "chat.gguf", chats=rendered)["chats"] == expected
