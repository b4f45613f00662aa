"""The scorer's measures against the libraries, called directly, on random cases: pytest tests/test_measures.py"""

import math
import random
import shutil
import string
from collections import Counter

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import CHRF
from scorer import entities, judges, metrics
from seqeval.metrics import f1_score as seqeval_f1
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from snakmodel.config import BadInput


def random_cases(make, count=1_000, seed=0):
    rng = random.Random(seed)
    return [make(rng) for _ in range(count)]


def test_measures_of_classes_are_scikit_learns():
    def make(rng):
        classes, items = rng.randint(2, 5), rng.randint(1, 40)
        return [[rng.randrange(classes) for _ in range(items)] for _ in range(2)]

    for answers, predicted in random_cases(make):
        found = metrics.class_scores(answers, predicted, ["accuracy", "macro_f1", "mcc"])
        assert found["accuracy"] == accuracy_score(answers, predicted)
        assert found["macro_f1"] == f1_score(answers, predicted, average="macro")
        assert found["mcc"] == matthews_corrcoef(answers, predicted)


def test_the_level_at_chance_is_what_random_answers_come_to():
    rng = np.random.default_rng(0)
    answers, options = rng.choice(3, size=300, p=[0.6, 0.3, 0.1]), [3] * 300
    for name in ("accuracy", "macro_f1", "mcc"):
        scores = [metrics.class_scores(answers, rng.integers(0, 3, 300), [name])[name] for _ in range(400)]
        assert metrics.chance_level(answers, options, name) == pytest.approx(np.mean(scores), abs=0.006)
    assert metrics.chance_level([0, 1, 0], [2, 4, 4], "accuracy") == pytest.approx((1 / 2 + 1 / 4 + 1 / 4) / 3)


def random_tags(rng, items, lengths):
    kinds = ["O", "O", "O", *(f"{place}-{kind}" for place in "BI" for kind in entities.KINDS)]
    return [[rng.choice(kinds) for _ in range(length)] for length, _ in zip(lengths, range(items), strict=True)]


def test_measures_of_entities_are_seqevals():
    def make(rng):
        lengths = [rng.randint(1, 8) for _ in range(rng.randint(1, 5))]
        return [random_tags(rng, len(lengths), lengths) for _ in range(2)]

    for answers, predicted in random_cases(make):
        found = metrics.entity_scores(answers, predicted)
        bare = [[["O" if "MISC" in tag else tag for tag in tags] for tags in each] for each in (answers, predicted)]
        for name, pair in (("micro_f1", (answers, predicted)), ("micro_f1_no_misc", bare)):
            empty = {tag for each in pair for tags in each for tag in tags} == {"O"}
            assert found[name] == (1 if empty else seqeval_f1(*pair, zero_division=0))


def squad(answer, predicted):
    """F1 and exact match, by sets of counted words: the formula of Rajpurkar et al. (2016), section 6.1."""
    table = str.maketrans("", "", string.punctuation)
    bags = []
    for text in (answer, predicted):
        bags.append([word for word in text.lower().translate(table).split() if word not in ("a", "an", "the")])
    one, other = map(Counter, bags)
    hits = sum(min(one[word], other[word]) for word in one)
    if not bags[0] or not bags[1]:
        return float(bags[0] == bags[1]), float(bags[0] == bags[1])
    precision, recall = hits / len(bags[1]), hits / len(bags[0])
    return (2 * precision * recall / (precision + recall) if hits else 0.0), float(bags[0] == bags[1])


def random_text(rng, words=8):
    return " ".join(rng.choice("the a an An ø, Å. by byen! i-dag x (y) The: ...".split()) for _ in range(words))


def test_measures_of_reading_are_squads():
    def make(rng):
        return [random_text(rng, rng.randint(0, 5)) for _ in range(rng.randint(2, 4))]

    for predicted, *answers in random_cases(make):
        pairs = [squad(answer, predicted) for answer in answers]
        assert metrics.word_f1(answers, predicted) == pytest.approx(max(f1 for f1, _ in pairs))
        assert metrics.exact_match(answers, predicted) == max(exact for _, exact in pairs)


def test_measures_of_texts_are_the_libraries():
    pairs = random_cases(lambda rng: [random_text(rng, rng.randint(0, 8)) for _ in range(2)])
    ascii_only = [[text.translate(str.maketrans("øÅ", "zq")) for text in pair] for pair in pairs]
    scorer = RougeScorer(["rougeL"])  # its own tokenizer knows ASCII only
    expected = [scorer.score(*pair)["rougeL"].fmeasure for pair in ascii_only]
    alone = [([answer], text) for answer, text in pairs]
    assert metrics.rouge_l(*zip(*alone, strict=True)) == pytest.approx(expected)
    for start in range(0, 1_000, 10):
        answers, predicted = zip(*pairs[start : start + 10], strict=True)
        expected = CHRF().corpus_score(list(predicted), [list(answers)]).score / 100
        assert metrics.chrf([[answer] for answer in answers], predicted) == expected
    assert metrics.rouge_l([["på åen"]], ["pa aen"]) == [0]


def test_of_several_right_texts_the_nearest_counts():
    answers, predicted = [["en by ved en å", "to byer"], ["en bog"]], ["to byer", "en båd"]
    assert metrics.rouge_l(answers, predicted) == [1, pytest.approx(1 / 2)]
    assert metrics.chrf(answers[:1], predicted[:1]) == 1
    streams = [["to byer", "en bog"], ["en by ved en å", ""]]
    assert metrics.chrf(answers, predicted) == CHRF().corpus_score(predicted, streams).score / 100


def test_the_interval_is_scandevals_arithmetic():
    rng = random.Random(0)
    for _ in range(1_000):
        scores = [rng.random() for _ in range(10)]
        total, interval = metrics.summarise([{"f1": value} for value in scores], 100)
        half_width = 1.96 * np.std(scores, ddof=1) / math.sqrt(10)  # scandeval/scores.py, aggregate_scores
        assert total == pytest.approx({"test_f1": 100 * np.mean(scores), "test_f1_se": 100 * half_width})
        assert interval["test_f1"] == pytest.approx(
            [100 * (np.mean(scores) + side * half_width * math.sqrt(10)) for side in (-1, 1)]
        )


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory):
    """A folder with a BERT of three layers and random weights, which reads words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(random_text(random.Random(0), 200).split())]
    tokenizer = Tokenizer(models.WordLevel({name: place for place, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    folder = tmp_path_factory.mktemp("bert")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)  # knows no longest text
    torch.manual_seed(0)
    sizes = {"vocab_size": len(names), "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "max_position_embeddings": 48}
    BertModel(BertConfig(**sizes, initializer_range=0.5)).save_pretrained(folder)
    return folder


def test_bertscore_is_the_librarys_and_no_answer_gets_nothing(small_bert, tmp_path):
    from bert_score import score as library
    from transformers import AutoTokenizer

    pairs = random_cases(lambda rng: [random_text(rng, rng.randint(1, 8)) for _ in range(2)])
    answers, predicted = zip(*pairs, strict=True)
    told = shutil.copytree(small_bert, tmp_path / "told")  # the library itself fails without a longest text
    AutoTokenizer.from_pretrained(small_bert, model_max_length=48).save_pretrained(told)
    _, _, expected = library(list(predicted), list(answers), model_type=str(told), num_layers=2)
    found = judges.bert_scores([[answer] for answer in answers], predicted, small_bert, 2)
    assert found == pytest.approx(expected.tolist(), abs=1e-5) and len(set(found)) > 500
    assert judges.bert_scores([["by"], ["an", "by"]], [" ", "by"], small_bert, 2) == [0, pytest.approx(1)]
    assert judges.bert_scores([["by " * 60]], ["by " * 90], small_bert, 2) == [pytest.approx(1)], "cut, not refused"


@pytest.fixture(scope="module")
def small_judge(small_bert, tmp_path_factory):
    """A classifier of pairs with random weights: 0 contradicted, 1 entailment, 2 neutral."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("judge")
    for path in small_bert.glob("tokenizer*"):
        shutil.copy(path, folder)
    torch.manual_seed(18)  # which says either about as often
    config = BertConfig.from_pretrained(small_bert, max_position_embeddings=48, initializer_range=0.5)
    config.id2label = {0: "contradicted", 1: "Entailment", 2: "neutral"}
    config.label2id = {label: place for place, label in config.id2label.items()}
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_the_entailment_score_is_the_librarys_and_no_answer_follows_from_nothing(small_judge):
    from transformers import pipeline

    pairs = random_cases(lambda rng: [random_text(rng, rng.randint(1, 40)), random_text(rng, rng.randint(1, 12))])
    library = pipeline("text-classification", model=str(small_judge), tokenizer=str(small_judge), device="cpu")
    asked = [{"text": text, "text_pair": summary} for text, summary in pairs]
    expected = [
        float(found["label"] == "Entailment") for found in library(asked, truncation="longest_first", max_length=48)
    ]
    found = judges.entailment_scores(*zip(*pairs, strict=True), small_judge, "entailment")
    assert found == expected and 100 < sum(found) < 900
    assert judges.entailment_scores(["by", "by"], [" ", ""], small_judge, "entailment") == [0, 0]
    with pytest.raises(BadInput, match="has no label 'yes', only contradicted, entailment, neutral"):
        judges.entailment_scores(["by"], ["by"], small_judge, "yes")


def test_models_that_judge_are_named_with_their_commit(small_bert):
    assert judges.find_judges(str(small_bert), 2, None, "entailment") == ((small_bert, 2), None)
    with pytest.raises(BadInput, match="builtin.bertscore_layers: bert-score has no choice for"):
        judges.find_judges(str(small_bert), None, None, "entailment")
    with pytest.raises(BadInput, match="builtin.entailment: 'ORG/NAME' is no folder, and names no revision"):
        judges.find_judges(None, None, "ORG/NAME", "entailment")
    with pytest.raises(
        BadInput, match="builtin.entailment: ORG/NAME@main is not in the cache .* HF_HUB_OFFLINE is set"
    ):
        judges.find_judges(None, None, "ORG/NAME@main", "entailment")
