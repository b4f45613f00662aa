"""Instruction sets as conversations: pytest tests/test_instructions.py"""

import gzip
import json
import random
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import kill_when, run_main, write_recipe

from finetune import instructions
from finetune.conversations import InstructionSet, NotAConversation, conversation_of
from finetune.duplicates import find_duplicates
from snakmodel.config import BadInput
from snakmodel.documents import DocumentWriter, read_documents
from snakmodel.records import read_json, write_jsonl

# a row of each set's columns; its map; and the conversation that it is
SKOLEGPT = {
    "id": "cot.1", "system_prompt": "Du forklarer kort.", "question": "Hvorfor er havet salt?",
    "response": "Floder fører salte ud i det.", "source": "cot",
}  # fmt: skip
OPENHERMES = {"instructions": "Ret sætningen.", "inputs": "Jeg har en rød hus.", "outputs": "Jeg har et rødt hus."}
AYA = {
    "id": 7, "inputs": "Hvad er 2 + 2?", "targets": " 4 ", "dataset_name": "Regning", "sub_dataset_name": "-",
    "task_type": "question-answering", "template_id": 1, "language": "dan", "script": "Latn", "split": "train",
}  # fmt: skip
MAGPIE = {
    "conversation_id": "a", "instruction": "Nævn en fugl.", "response": "En svane.",
    "conversations": [{"from": "human", "value": "Nævn en fugl."}, {"from": "gpt", "value": "En svane."}],
}  # fmt: skip
TRANSCRIPT = (
    "\n\nHuman: Hvor ligger Ribe?\n\nAssistant: I Jylland.\n\nSikkert.\n\nHuman: Er den gammel?\n\nAssistant: Ja."
)
HH_RLHF = {"chosen": TRANSCRIPT, "rejected": "\n\nHuman: Hvor ligger Ribe?\n\nAssistant: Ved ikke."}
MESSAGES = {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}
EMPTY_SYSTEM = {"chat": [{"from": "system", "value": " "}, *MESSAGES["messages"]]}
DIALOGUE = ["Hvor ligger Ribe?", "I Jylland.\n\nSikkert.", "Er den gammel?", "Ja."]
MAPS = [
    (SKOLEGPT, {"prompt": ["system_prompt", "question"], "answer": "response"},
     ["Du forklarer kort. Hvorfor er havet salt?", "Floder fører salte ud i det."]),
    (SKOLEGPT, {"prompt": ["question"], "answer": "response", "system": "system_prompt"},
     ["Du forklarer kort.", "Hvorfor er havet salt?", "Floder fører salte ud i det."]),
    (OPENHERMES, {"prompt": ["instructions", "inputs"], "answer": "outputs"},
     ["Ret sætningen. Jeg har en rød hus.", "Jeg har et rødt hus."]),
    (AYA, {"prompt": ["inputs"], "answer": "targets"}, ["Hvad er 2 + 2?", "4"]),
    (MAGPIE, {"prompt": ["instruction"], "answer": "response"}, ["Nævn en fugl.", "En svane."]),
    (MAGPIE, {"conversation": "conversations"}, ["Nævn en fugl.", "En svane."]),
    (HH_RLHF, {"conversation": "chosen"}, DIALOGUE),
    (MESSAGES, {"conversation": "messages"}, ["u", "a"]),
    ({"messages": json.dumps(MESSAGES["messages"])}, {"conversation": "messages"}, ["u", "a"]),
    (EMPTY_SYSTEM, {"conversation": "chat"}, ["u", "a"]),
    ({**MESSAGES, "rules": "Svar."}, {"conversation": "messages", "system": "rules"}, ["Svar.", "u", "a"]),
]  # fmt: skip


def turns_of(row, **columns):
    return conversation_of(row, InstructionSet(path="-", **columns), "instruction set x")


@pytest.mark.parametrize("row, columns, contents", MAPS)
def test_a_row_of_every_known_set_becomes_the_conversation_that_it_is(row, columns, contents):
    turns = turns_of(row, **columns)
    assert [turn["content"] for turn in turns] == contents
    spoken = ["user", "assistant"] * (len(contents) // 2)
    assert [turn["role"] for turn in turns] == ["system"] * (len(contents) % 2) + spoken


def test_the_data_of_a_question_ends_its_content_and_is_told_apart_where_there_is_any():
    columns = {"prompt": ["instructions"], "input": "inputs", "answer": "outputs"}
    data = OPENHERMES["inputs"]
    assert turns_of(OPENHERMES, **columns)[0] == {"role": "user", "content": f"Ret sætningen. {data}", "input": data}
    assert turns_of({**OPENHERMES, "inputs": None}, **columns)[0] == {"role": "user", "content": "Ret sætningen."}
    assert turns_of({**OPENHERMES, "instructions": " "}, **columns)[0] == {"role": "user", "content": data}


def said(*roles):
    return [{"role": role, "content": "noget"} for role in roles]


FAULTS = [
    (said("user", "user", "assistant"), "user and assistant do not take turns"),
    (said("assistant", "user", "assistant"), "user and assistant do not take turns"),
    (said("user", "system", "assistant"), "user and assistant do not take turns"),
    (said("user", "assistant", "user"), "ends without an answer"),
    (said("system"), "ends without an answer"),
    ([], "ends without an answer"),
    ([*said("user"), {"role": "assistant", "content": " \n"}], "empty question or answer"),
    ([*said("user"), {"role": "assistant", "content": None}], "empty question or answer"),
    ([*said("user"), {"from": "gpt"}], "empty question or answer"),
    ([*said("user"), {"role": "assistant", "content": [{"type": "text"}]}], "a turn that is not text"),
    (said("user", "tool"), "unknown role 'tool'"),
    (["Hej", "Hej!"], "neither a list of turns nor a transcript"),
    ("Hej\n\nHuman: hej\n\nAssistant: hej", "neither a list of turns nor a transcript"),
    (None, "neither a list of turns nor a transcript"),
    ("\n\nHuman: Hej\n\nHuman: Er du der?\n\nAssistant: Ja.", "user and assistant do not take turns"),
    ("\n\nHuman: Hej\n\nAssistant:", "empty question or answer"),
]


@pytest.mark.parametrize("value, reason", FAULTS)
def test_what_is_no_conversation_is_told_by_its_reason(value, reason):
    with pytest.raises(NotAConversation, match=f"^{reason}$"):
        turns_of({"turns": value}, conversation="turns")


ITEM = "Hvilken by ved fjorden fik sin første sporvogn, længe før hovedstaden tænkte på en?"
DANISH = [f"Bogen handler om en læge, der flytter ud på landet efter krig nummer {number}." for number in range(40)]
ENGLISH = "The book is about a doctor who moves to the country after the war."
FILES = {  # set -> (file, its rows of question and answer, the reasons of those that go)
    "books": (
        "books.jsonl",
        [
            *(("Hvad handler bogen om?", text) for text in DANISH[:5]),
            ("Hvad handler bogen om?", "Ja"),
            ("Hvad handler bogen om?", DANISH[0] * 5),
            ("Hvad handler bogen om?", ""),
            ("What is the book about?", ENGLISH),
            (ITEM, DANISH[5]),
        ],
        ["an answer is too short", "an answer is too long", "empty question or answer", "language en",
         "contaminated by byer"],
    ),
    "copies": (
        "copies.jsonl.gz",
        [
            ("hvad handler bogen om", DANISH[0].replace(",", " – ").upper()),
            ("Hvad handler bogen ikke om?", DANISH[0]),
            ("Hvad handler bogen ikke om?", DANISH[0]),
        ],
        ["exact duplicate", "exact duplicate"],
    ),
    "news": ("news.parquet", [("Og hvad så?", text) for text in DANISH[6:16]], []),
}  # fmt: skip


@pytest.fixture
def home(tmp_path):
    """The folder of recipe.yaml, with three sets in three formats and a set of conversations."""
    sets = {}
    for name, (file, pairs, _) in FILES.items():
        rows = [{"spørgsmål": asked, "svar": answer} for asked, answer in pairs]
        sets[name] = {"path": str(tmp_path / file), "prompt": ["spørgsmål"], "answer": "svar"}
        if file.endswith(".gz"):
            (tmp_path / file).write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
        elif file.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(rows), tmp_path / file)
        else:
            write_jsonl(tmp_path / file, rows)
    talks = [[DANISH[16], DANISH[17], DANISH[18], DANISH[19]], [DANISH[20]] * 6, [DANISH[21]]]
    messages = [
        [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(talk)] for talk in talks
    ]
    write_jsonl(tmp_path / "talks.jsonl", [{"messages": turns} for turns in messages])
    sets["talks"] = {"path": str(tmp_path / "talks.jsonl"), "conversation": "messages"}
    write_jsonl(tmp_path / "items.jsonl", [{"id": "i", "text": ITEM}])
    own = {"byer": {"path": str(tmp_path / "items.jsonl"), "text": ["text"], "id": "id"}}
    filters = {"min_characters": 3, "max_characters": 300, "max_turns": 2, "language": {"language": "da"}}
    recipe = {"sets": sets, "identity": [["Hvem er du?", "Jeg er Snakmodel."]], **filters}
    write_recipe(tmp_path / "recipe.yaml", instructions=recipe | {"decontaminate": {"testsets": ["byer"], "own": own}})
    return tmp_path


def gather(home, *words):
    """What instructions.py prints and writes: output, folder, and the rows of each file."""
    output, folder = run_main(instructions, home / "recipe.yaml", *words), home / "run/instruct/data"
    names = ("train", "validation", "rejects/train")
    return output, folder, *(list(read_documents(folder / f"{name}.parquet")) for name in names)


def test_what_goes_is_counted_by_set_and_reason_and_kept_beside(home):
    output, folder, train, validation, rejects = gather(home)
    record = read_json(folder / "run.json")
    for name, (_, pairs, reasons) in FILES.items():
        kept = len(pairs) - len(reasons)
        assert record["counts"][name] == {"seen": len(pairs), "kept": kept, "dropped": Counter(reasons)}
        assert f"{name}: kept {kept} of {len(pairs)}" in output
        assert [row["reason"] for row in rejects if row["source"] == name] == reasons
    talks = {"seen": 3, "kept": 1, "dropped": {"too many turns": 1, "ends without an answer": 1}}
    assert record["counts"]["talks"] == talks
    assert record["counts"]["identity"] == {"seen": 1, "kept": 1, "dropped": {}}
    assert record["written"] == {"train": len(train), "validation": 0} and validation == []
    (contaminated,) = (row for row in rejects if row["item"])
    assert (contaminated["item"], contaminated["overlap"]) == ("i", 1)
    twins = {row["id"]: row["duplicate_of"] for row in rejects if row["duplicate_of"]}
    assert twins == {"copies:00000000": "books:00000000", "copies:00000002": "copies:00000001"}
    assert DANISH[21] in next(row["text"] for row in rejects if row["reason"] == "ends without an answer")  # its row
    (talk,) = (row for row in train if row["source"] == "talks")
    assert [turn["content"] for turn in json.loads(talk["turns"])] == talk["text"].splitlines() == DANISH[16:20]
    assert train[-1]["text"] == "Hvem er du?\nJeg er Snakmodel."
    assert "instructions: done" in run_main(instructions, home / "recipe.yaml")


def test_a_set_may_be_limited_and_repeated_and_duplicates_may_stay(home):
    words = ["sets.books.limit=3", "sets.books.repeats=2", "identity_repeats=3", "duplicates=keep"]
    _, _, train, _, rejects = gather(home, *words)
    ids = [row["id"] for row in train if row["source"] in ("books", "copies", "identity")]
    books = [f"books:0000000{number}{copy}" for number in range(3) for copy in ("", "#1")]
    identity = [f"identity:00000000{copy}" for copy in ("", "#1", "#2")]
    assert ids == [*books, *(f"copies:0000000{number}" for number in range(3)), *identity]
    assert not any("duplicate" in row["reason"] for row in rejects)


def test_who_is_held_out_hangs_on_the_id_alone_and_neither_copies_nor_identity_are(home):
    rows = [{"spørgsmål": f"Hvad er nummer {number}?", "svar": text} for number, text in enumerate(DANISH * 10)]
    write_jsonl(home / "books.jsonl", rows)
    _, _, train, validation, _ = gather(home, "validation_share=0.1", "identity_repeats=50")
    held = [row["id"] for row in validation]
    assert 20 < sum(id.startswith("books:") for id in held) < 65  # of 400; six standard deviations are 36
    words = ["validation_share=0.1", "sets.books.repeats=2", "min_characters=20", "--overwrite"]
    _, folder, train, validation, _ = gather(home, *words)
    assert [row["id"] for row in validation] == held
    assert not {row["text"] for row in train} & {row["text"] for row in validation}
    assert read_json(folder / "run.json")["written"] == {"train": len(train), "validation": len(held)}
    assert sum(row["source"] == "identity" for row in train) == 1


def test_nearly_the_same_conversations_are_found_as_a_comparison_of_all_pairs_finds_them(tmp_path):
    rng = random.Random(0)
    texts = []
    for number in range(60):
        words = [f"ord{rng.randrange(2_000)}" for _ in range(80)]
        texts += [words, [*words[:-2], "to", "andre"], [*words[:40], f"midt{number}", *words[41:]]]
    rng.shuffle(texts)
    grams = [{tuple(words[n : n + 5]) for n in range(len(words) - 4)} for words in texts]
    expected = []
    for row, mine in enumerate(grams):  # twins are alike to 0.83 or more, others to less than 0.1
        alike = [first for first in range(1, row) if len(mine & grams[first]) / len(mine | grams[first]) > 0.5]
        expected.append(min(alike, default=row))
    with DocumentWriter(tmp_path / "judged.parquet", instructions.TURNS | instructions.REMARKS) as out:
        for number, words in enumerate(texts):
            turns = json.dumps([{"role": "user", "content": " ".join(words)}])
            reason = None if number else "too short"  # so that the first is not compared
            out.write({"text": " ".join(words), "source": "x", "id": str(number), "turns": turns, "reason": reason})
    first_N, exact_N = find_duplicates(tmp_path / "judged.parquet", similarity=0.6)
    wrong = sum(a != b for a, b in zip(first_N.tolist(), expected, strict=True))
    assert wrong <= 0.13 * 120 and not exact_N.any()  # 8 bands of 8 find .87 of pairs at 0.83, .97 at 0.88
    alone, _ = find_duplicates(tmp_path / "judged.parquet", similarity=None)
    assert alone.tolist() == list(range(len(texts)))
    assert [path.name for path in tmp_path.iterdir()] == ["judged.parquet"]


MISTAKES = [
    ("sets.books.answer=svarr", "instruction set books has no column 'svarr'; did you mean svar\\?"),
    ("sets.talks.conversation=null sets.talks.prompt=messages sets.talks.answer=messages",
     "instruction set talks: column 'messages' holds a list, not text; for turns: conversation"),
    ("sets.books.conversation=svar", ".*books: conversation is one column of all turns; leave out prompt and answer"),
    ("sets.books.answer=null", ".*sets.books: answer missing; or name the one column of all: conversation"),
    ("sets.books.min_characters=4", ".*sets.books.min_characters is not a setting.*"),
    ("language.language=sv", "instruction set books keeps none of its 10 rows; 6 language da; 1 .*"),
    ("sets.copies.limit=1", "instruction set copies keeps none of its 1 rows; 1 exact duplicate: correct its .*"),
    ("sets.talks.limit=0", ".*sets.talks.limit should be at least 1, got 0"),
    ("language.language=fo", "instructions.language.language 'fo' is not among languages .*"),
    ("max_characters=2", ".*instructions: max_characters 2 is less than min_characters 3"),
    ("validation_share=0.1 duplicates=keep", ".*validation_share 0.1 with duplicates: keep would train on copies .*"),
    ("identity=[[hvem]]", r".*instructions.identity\[0\] should be \[question, answer\], got \['hvem'\]"),
    ("sets.identity.path=x.jsonl sets.identity.conversation=y", ".*a set cannot be called identity.*"),
    ("sets.books.path=gone.jsonl", "instruction set books: gone.jsonl: no such file or folder; give one, or .*"),
]  # fmt: skip


@pytest.mark.parametrize("words, message", MISTAKES)
def test_a_mistake_is_one_line_and_the_corrected_command_needs_nothing_more(home, words, message):
    with pytest.raises(BadInput, match=f"^{message}$"):
        gather(home, *words.split(" "))
    gather(home)


def test_killed_at_any_stage_the_same_command_ends_in_the_same_bytes(home):
    rows = [{"spørgsmål": f"Hvad er nummer {number}?", "svar": text} for number, text in enumerate(DANISH * 60)]
    write_jsonl(home / "books.jsonl", rows)
    words = ["validation_share=0.2", "duplicates=near"]
    run_main(instructions, home / "recipe.yaml", *words, f"run_dir={home / 'whole'}")
    data, whole = (home / run / "instruct/data" for run in ("run", "whole"))
    for reached in (".*judged*", ".judged.parquet"):  # while rows are read, and once they are
        command = ["finetune/instructions.py", "--config", home / "recipe.yaml", *words]
        kill_when(lambda pattern=reached: list(data.glob(pattern)), *command)
        assert not (data / "run.json").is_file()
    gather(home, *words)
    for name in ("train.parquet", "validation.parquet", "rejects/train.parquet", "contaminated.json"):
        assert (data / name).read_bytes() == (whole / name).read_bytes()
    assert not (data / ".judged.parquet").exists()
