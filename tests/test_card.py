"""The model card says what the run's records say, and nothing else: pytest tests/test_card.py"""

import re
from functools import reduce
from pathlib import Path

import pytest
import yaml
from conftest import copy_run, run_main, succeed
from safetensors import safe_open

from finetune import card
from snakmodel.config import BadInput
from snakmodel.records import identity, read_json, write_json

SERIES = "all-r8-chat"
PARTS = ("models", "instruct", "checkpoints", "corpus", "scores", "release")


@pytest.fixture
def written(tiny_run):
    """The folder of the last step's card, of the finished miniature."""
    return tiny_run.parent / f"run/cards/{SERIES}/step-00016"


def prose(text):
    """The card without its front matter and code."""
    body = text.split("---\n", 2)[2]
    return re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", body, flags=re.DOTALL))


def test_every_fact_is_in_the_file_and_under_the_keys_that_its_source_names(tiny_run, written):
    facts = read_json(written / "card.sources.json")
    files = {Path(fact["file"]).name for fact in facts}
    assert {"run.json", "ledger.json", "scores.json", "comparison.json", "contaminated.json"} <= files
    for fact in facts:
        path = tiny_run.parent / "run" / fact["file"]
        if path.suffix == ".json":
            assert reduce(lambda data, key: data[key], fact["keys"], read_json(path)) == fact["value"], fact


def test_every_number_of_the_card_is_a_fact_with_a_source(tiny_run, written):
    values = [fact["value"] for fact in read_json(written / "card.sources.json")]
    with safe_open(tiny_run.parent / f"run/instruct/{SERIES}/step-00016/model.safetensors", framework="pt") as weights:
        values.append(sum(weights.get_tensor(name).numel() for name in weights.keys()))
    numbers = [value for value in values if isinstance(value, int | float)]
    known = {f"{number:,}" for number in numbers} | {f"{number:,}".replace(",", ".") for number in numbers} | {"95"}
    known |= {
        f"{times * number:{form}}"
        for number in numbers
        for times in (1, 100)
        for form in (".0f", ".1f", ".2f", ".3f", ".2g")
    }
    text = prose((written / "README.md").read_text())
    shown = re.findall(r"(?<![\w.-])\d+(?:[.,]\d+)*(?:e-?\d+)?(?![\w-])", text)
    assert len(shown) > 60 and not [number for number in shown if number not in known]


def test_the_front_matter_is_what_the_hub_reads_and_the_code_runs(written, tiny_run):
    text = (written / "README.md").read_text()
    facts = yaml.safe_load(text.split("---\n", 2)[1])
    expected = {"language": ["da"], "license": "mit", "library_name": "transformers", "pipeline_tag": "text-generation"}
    assert facts == expected and "Kort fortalt på dansk" in text
    assert "<s>[INST] Hvad hedder hovedstaden i Danmark? [/INST]" in text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert "revision" not in code and succeed("-c", code.replace("max_new_tokens=100", "max_new_tokens=2"))


def test_what_was_not_measured_is_said_to_be_so_or_left_out(tiny_run, tmp_path):
    assert "Not recorded: the corpus" in (tiny_run.parent / f"run/cards/{SERIES}/step-00000/README.md").read_text()
    words = copy_run(tiny_run, tmp_path, "models")
    run_main(card, words[1], *words[2:], "series=pretrained", "steps=last", "repository=we/made", "licence=null")
    text = (tmp_path / "run/cards/pretrained/step-00016/README.md").read_text()
    assert "## Scores\n\nNot measured." in text and "Pre-training corpus: not measured." in text
    assert "Licence: not stated." in text and "Time and machine: not recorded." in text
    assert "## Quantised forms" not in text and "dawiki" not in text and "### Instructions" not in text
    assert 'from_pretrained("we/made", revision="step-00016")' in text and "It continues a text" in text


def test_a_model_that_was_tuned_from_somebody_elses_says_so_and_claims_no_pre_training(tiny_run, tmp_path):
    words = copy_run(tiny_run, tmp_path, "models", "instruct")
    adapter = tmp_path / f"run/instruct/adapters/{SERIES}/step-00016"
    for path, name, planted in (
        (adapter / "run.json", "model", "meta-llama/Llama-2-7b-chat-hf=0123abc"),
        (tmp_path / f"run/instruct/{SERIES}/step-00016/run.json", "adapter", str(adapter)),
    ):
        record = read_json(path)
        record["inputs"][name] = {"path": planted, "hash": identity(planted)}
        write_json(path, record)
    run_main(card, words[1], *words[2:], "steps=last")
    text = (tmp_path / f"run/cards/{SERIES}/step-00016/README.md").read_text()
    assert "model: `meta-llama/Llama-2-7b-chat-hf`, tuned on instructions." in text
    assert "Pre-training: not by this run." in text and "Not recorded: the corpus" in text


def test_a_model_tuned_on_preferences_tells_their_counts_and_what_they_did(tiny_run, tmp_path):
    words = copy_run(tiny_run, tmp_path, *PARTS)
    run_main(card, words[1], *words[2:], "series=all-r8-chat-polite", "steps=last")
    text = (tmp_path / "run/cards/all-r8-chat-polite/step-00016/README.md").read_text()
    record = read_json(tiny_run.parent / "run/instruct/adapters/all-r8-chat-polite/step-00016/run.json")
    held_out = record["held_out"]
    assert "### Instructions" in text and "### Preference pairs" in text and "Preference pairs: not measured." in text
    assert f"Of {held_out['pairs']:,} held-out pairs" in text and "refuse" not in text
    assert f"rewarded more in {100 * held_out['reward_accuracy']:.1f} %" in text


def test_a_run_that_has_moved_has_the_same_card_and_one_whose_tuning_is_gone_has_none(tiny_run, tmp_path):
    words = copy_run(tiny_run, tmp_path, *PARTS)
    before = {
        path: (tiny_run.parent / "run" / path).rename(tmp_path / f"aside-{number}")
        for number, path in enumerate(("models", "instruct"))
    }
    tuning = tmp_path / f"run/instruct/adapters/{SERIES}/step-00016/run.json"
    try:
        run_main(card, words[1], *words[2:], "steps=last")
        write_json(tuning, read_json(tuning) | {"examples": 0})
        with pytest.raises(BadInput, match="is not there any more, or has changed: the card cannot say"):
            run_main(card, words[1], *words[2:], "steps=last")
    finally:
        for path, aside in before.items():
            aside.rename(tiny_run.parent / "run" / path)
    moved, here = (
        f.joinpath(f"run/cards/{SERIES}/step-00016/README.md").read_text() for f in (tmp_path, tiny_run.parent)
    )
    places = str(tmp_path / "run"), str(tiny_run.parent / "run")
    assert moved.replace(*places) == here


def test_a_card_is_written_again_once_there_are_other_scores_and_forms_of_another_model_are_left_out(
    tiny_run, tmp_path
):
    words = copy_run(tiny_run, tmp_path, *PARTS)
    assert "facts of" in run_main(card, words[1], *words[2:], "steps=last")
    assert "card step-00016: done" in run_main(card, words[1], *words[2:], "steps=last")
    scores = read_json(tmp_path / "run/scores/scores.json")
    for row in scores["rows"]:
        row |= {"value": 12.3456, "low": None, "high": None}  # as of one resample
    write_json(tmp_path / "run/scores/scores.json", scores)
    record = tmp_path / f"run/release/{SERIES}/step-00016/run.json"
    told = read_json(record)
    told["inputs"]["model"]["hash"] = "of another model"
    write_json(record, told)
    run_main(card, words[1], *words[2:], "steps=last")
    text = (tmp_path / f"run/cards/{SERIES}/step-00016/README.md").read_text()
    assert "| 12.346 | – |" in text and "## Quantised forms" not in text


def test_a_template_that_asks_for_what_no_run_recorded_is_refused(tiny_run, tmp_path):
    words = copy_run(tiny_run, tmp_path, *PARTS)
    template = tmp_path / "card.md.jinja"
    for asked, message in (
        ("{{ corpus.price }}", "has no attribute 'price': no record of .* has it"),
        ("{{ evaluators }}", "'evaluators' is undefined: no record"),
        ("one\n{% if %}", r"card.md.jinja, line 2: "),
        ("one\n[us](https://example.com/x)", r"README.md, line 2: the link 'https://example.com/x' leads nowhere"),
    ):
        template.write_text(asked)
        with pytest.raises(BadInput, match=message):
            run_main(card, words[1], *words[2:], "steps=last", f"template={template}")
    assert not list((tmp_path / "run").glob("cards/**/README.md"))


@pytest.mark.parametrize(
    "line, message",
    [
        ("Trained on {{ tokens }} tokens", "'{{' is left to fill in"),
        ("{% for x in y %}", "'{%' is left"),
        ("TODO: scores", "'TODO' is left"),
        ("Developed by: [More Information Needed]", "left to fill in"),
        ("Contact <your name>", "'<your name>' is left"),
        ("# &lt;your name>, step-00500", "'<your name>' is left"),
        ('model = load("ORG/model")', "'ORG/' is left"),
        ("see [the data](https://example.com/FineWeb)", "leads nowhere"),
        ("see https://www.example.org.", "leads nowhere"),
        ("see [the classifier](https://classifier-release-link-here)", "'https://classifier-release-link-here' leads"),
        ("see [it](http://)", "'http://' leads nowhere"),
        ("see [it]()", "leads nowhere"),
        ("see http://localhost:8000/card", "leads nowhere"),
    ],
)
def test_what_is_left_to_fill_in_and_links_that_lead_nowhere_are_refused_with_their_line(line, message):
    with pytest.raises(BadInput, match=f"^card, line 3: .*{re.escape(message)}"):
        card.check_card(f"# Card\n\n{line}\n", "card")


def test_prompts_real_links_and_bibtex_pass():
    text = (
        "`<s>[INST] x` at <https://huggingface.co/x> and [here](https://aclanthology.org/2025.nodalida-1.80), [b](#b)\n"
    )
    text += "```\n<s>[INST] <<SYS>> x\n```\n```bibtex\ntitle = {{SnakModel}: Lessons}\n```\nTabel <br> og 3 < 4 > 2"
    card.check_card(text, "card")
    with pytest.raises(BadInput, match="line 2"):
        card.check_card("```bibtex\nhttps://example.com\n```", "card")
