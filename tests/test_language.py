"""The language filter: python -m pytest tests/test_language.py"""

from functools import cache

import fasttext
import pytest
from conftest import write_recipe

from pretrain.corpus import filter_language
from pretrain.corpus.filter_language import Settings, judge_text
from snakmodel.documents import DocumentWriter, read_documents
from snakmodel.languages import LID_176, load_backend
from snakmodel.records import read_json, write_json
from snakmodel.settings import BadInput

SENTENCES = {
    "da": (
        "Jeg ved ikke, hvad der blev af min gamle cykel.",
        "Bogen handler om en læge, der flytter ud på landet efter krigen.",
    ),
    "no": (
        "Jeg vet ikke hva som ble av den gamle sykkelen min.",
        "Boken handler om en lege som flytter ut på landet etter krigen.",
    ),
    "sv": (
        "Jag vet inte vad det blev av min gamla cykel.",
        "Boken handlar om en läkare som flyttar ut på landet efter kriget.",
    ),
    "en": (
        "I do not know what became of my old bicycle.",
        "The book is about a doctor who moves to the country after the war.",
    ),
}
TEXTS = [(language, text) for language, texts in SENTENCES.items() for text in texts]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A fastText model of the four languages, trained on nothing but the sentences above."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "lines").write_text("".join(f"__label__{own} {text}\n" for own, text in TEXTS), encoding="utf-8")
    settings = {"dim": 8, "lr": 1.0, "epoch": 300, "bucket": 5_000, "minn": 2, "maxn": 4, "thread": 1, "verbose": 0}
    trained = fasttext.train_supervised(str(folder / "lines"), **settings)
    trained.save_model(str(folder / "tiny.bin"))
    return str(folder / "tiny.bin")


@cache  # loading takes a second
def load(backend, languages, model):
    return load_backend(backend, languages.split(), model)


def judge(text, **settings):
    settings = Settings(**{"language": "da", **settings})
    return judge_text(text, load(settings.backend, " ".join(settings.languages), settings.model), settings)


def run(home, monkeypatch, **settings):
    """filter_language.py on the sentences, whose ids are their languages; the folder that it writes."""
    with DocumentWriter(home / "run/corpus/raw/texts-00000.parquet") as raw:
        for language, text in TEXTS:
            raw.write({"text": text, "source": "texts", "id": language})
    write_json(home / "run/corpus/raw/run.json", {})
    recipe = write_recipe(home / "recipe.yaml", filter_language=settings)
    monkeypatch.setattr("sys.argv", ["script", "--config", str(recipe)])
    filter_language.main()
    return home / "run/corpus/in_language"


@pytest.mark.parametrize("language", SENTENCES)
def test_by_default_the_sentences_of_the_language_stay_and_others_go_with_their_language_as_the_reason(language):
    for own, text in TEXTS:
        found, probability, reason = judge(text, language=language)
        assert found == own and probability > 0.95
        assert reason == (None if own == language else f"language {own}")


def test_a_language_that_is_not_to_choose_from_is_still_not_taken_for_one_that_is():
    finnish = "Sää on tänään kaunis ja lapset leikkivät pihalla."
    assert judge(finnish)[2] == "language fi"
    assert judge(finnish, backend="py3langid", min_probability=0)[0] in Settings(language="da").languages


def test_lists_capitals_and_addresses_change_nothing_and_what_says_nothing_is_dropped():
    assert judge("• Rugbrød\n• Gulerødder\n• 2 liter mælk\n• Noget godt til kaffen kl. 15")[2] is None
    for own, text in TEXTS:
        assert judge(f"{text} https://www.example.no/nyheter/hva-skjer?side=2") == judge(f"{text}  ")
        assert judge(text.upper())[0] == own
    assert judge("\x01\ufffe" + SENTENCES["da"][0])[2] is None
    assert judge("12 345 678 - 90")[2] is not None
    assert judge("Ja, tak")[2] == "too short"


def test_fasttext_is_followed_by_its_label_and_a_threshold_of_its_own(model, tmp_path, monkeypatch):
    chosen = {"languages": [*SENTENCES], "backend": "fasttext", "model": model}
    for own, text in TEXTS:
        found, probability, reason = judge(text + "\n", **chosen)
        assert found == own and 0.6 < probability <= 1 and (reason is None) is (own == "da")
    assert judge(SENTENCES["da"][0], **chosen, min_probability=1.0)[2] == "low probability"
    folder = run(tmp_path, monkeypatch, language="da", **chosen)
    assert [row["text"] for row in read_documents(folder / "texts-00000.parquet")] == [*SENTENCES["da"]]
    for row in read_documents(folder / "rejects/texts-00000.parquet"):
        assert row["reason"] == f"language {row['language']}" == f"language {row['id']}"
    assert read_json(folder / "run.json")["min_probability"] == 0.6


REFUSED = [
    ({"language": "fo"}, "language 'fo' is not among languages"),
    ({"language": "nb", "languages": ["nb", "da"]}, "not known: nb; known: .*, no, "),
    ({"language": "da", "backend": "cld3"}, "should be one of py3langid.cld2, py3langid, fasttext, got 'cld3'"),
    ({"language": "da", "backend": "fasttext"}, f"no file named: not found; lid.176.bin is at {LID_176[:30]}"),
    ({"language": "da", "backend": "fasttext", "model": "gone.bin"}, "model: gone.bin: not found; lid.176.bin is"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_what_cannot_be_told_is_refused_in_one_line(tmp_path, monkeypatch, settings, message):
    with pytest.raises(BadInput, match=message):
        run(tmp_path, monkeypatch, **settings)
