"""Ask checkpoints whether they have seen test sets: what do they recognise, recite, and find too probable?

python analyze/probes.py --config configs/tiny.yaml

Per set and step: sets recognised by name (texts, to be read); the second half of an item, its next sentence and the
next item, completed; membership by min-k% probability and against a paraphrase. analyze/README.md defines each.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from analyze import memorised
from analyze.memorised import Items, Pair, Row
from analyze.speakers import Choice, Speaker, chat_ids, load_speaker, room, text_ids
from snakmodel.config import BadInput, knob, read_command, run_script
from snakmodel.documents import evenly, sample_texts
from snakmodel.paths import PRETRAINED, step_name
from snakmodel.records import begin, is_current, read_json, write_json, write_jsonl
from snakmodel.series import choose, read_series
from snakmodel.tables import no_rows
from snakmodel.testsets import TestSet, find_testset, read_testset, testset_inputs

CONTROL = "held-out"  # the name of the control among the sets
QUESTIONS = {  # SnakModel's three, asked in English alone there
    "en": [
        "Which task does the benchmark {name} test?",
        "Which task was the dataset {name} made for?",
        "Write the first two sentences of the test set of {name}.",
    ],
    "da": [
        "Hvilken opgave tester benchmarket {name}?",
        "Hvilken opgave er datasættet {name} lavet til?",
        "Skriv de to første sætninger i testsættet fra {name}.",
    ],
}


@dataclass
class Settings:
    testsets: list[str] = knob(help="names of test sets, of the recipe or the catalogue")
    own: dict[str, TestSet] = knob({}, "sets described in the recipe itself; they win over the catalogue's")
    # the sets that are used count as inputs, so the catalogue may change elsewhere
    catalogue: str = knob("configs/testsets.yaml", "YAML file: name -> test set", execution=True)
    titles: dict[str, str] = knob({}, "set -> what people call it; else its name")
    paraphrases: dict[str, str] = knob({}, "set -> its column of paraphrases; else neighbouring words change places")
    control: str | None = knob(None, f"Parquet file of texts that no training saw, probed as the set {CONTROL!r}")
    control_words: int = knob(40, "words of such a text; the sets' items should be about as long", low=8)
    items: int = knob(100, "most items of a set and probe, evenly spaced", low=2)
    min_words: int = knob(8, "of an item; shorter ones are counted and left out", low=4)
    min_k: float = knob(0.2, "share of an item's tokens, the least probable ones (Shi et al.: 0.2)", above=0, high=1)
    answer_tokens: int = knob(30, "of what is said to be recognised (SnakModel: 30)", low=1)
    series: list[str] = knob([PRETRAINED], "series to probe: pretrained, or tuned variants", execution=True)
    steps: str = knob("all", "steps: all, first, last, numbers or START:STOP:STRIDE", execution=True)
    batch_tokens: int = knob(4_096, "most tokens in a batch, padding included", low=1, execution=True)


def main() -> None:
    command = read_command(Settings, "probes", __doc__)
    s, folder = command.settings, command.run.folder("probes")
    sets = {name: find_testset(name, s.own, s.catalogue, "probes.testsets") for name in s.testsets}
    inputs = testset_inputs(sets) | ({"control": Path(s.control)} if s.control else {})
    for setting, names in (("paraphrases", s.paraphrases), ("titles", s.titles)):
        for name in names.keys() - sets.keys():
            raise BadInput(f"{command.config}: probes.{setting}: {name!r} is none of probes.testsets")
    # what is to be replaced is not thrown away for sets that cannot be read
    texts = read_texts(s, sets) if command.overwrite or command.check else {}
    together: list[Row] = []
    for series in s.series:
        there = read_series(command.run.series(series))
        chosen = choose(there, s.steps, f"{command.config}: probes.steps")
        for checkpoint in there:
            place, of_step = folder / series / step_name(checkpoint.step), {"model": checkpoint.source, **inputs}
            work = begin(command, place, of_step) if checkpoint in chosen else None
            if work is not None:
                texts = texts or read_texts(s, sets)
                facts = {"series": series, "step": checkpoint.step, "tokens": checkpoint.row.get("tokens")}
                speaker = load_speaker(series, checkpoint.location, Choice())
                rows, details, counts = probe(speaker, texts, s)
                said = [facts | row for row in recognition(speaker, s)]
                del speaker  # before the next one is loaded
                write_jsonl(place / "items.jsonl", details)
                write_json(place / "recognition.json", {"rows": said})
                write_json(place / "rows.json", {"rows": [facts | row for row in rows]})
                work.finish(counts=counts)
                for row in rows:
                    if row["measure"] in ("exact", "auc"):
                        what = f"{row['testset']} {row['probe']} {row['measure']}"
                        told = f"{row['value']:.3g} [{row['low']:.3g}, {row['high']:.3g}] of {row['items']} items"
                        print(f"{series} {place.name}: {what} {told}", flush=True)
            if is_current(place, of_step):
                together += read_json(place / "rows.json")["rows"]
    if not command.check:
        write_json(folder.with_suffix(".json"), {"rows": together})


def read_texts(s: Settings, sets: dict[str, TestSet]) -> dict[str, tuple[Items, Items]]:
    """The items of each set and their paraphrases, both (id, text); no paraphrases where no column has them."""
    texts: dict[str, tuple[Items, Items]] = {}
    for name, testset in sets.items():
        items = [(item.id, item.text) for item in read_testset(name, testset)]
        if not items:
            raise no_rows(f"test set {name}", testset.path, testset.split)
        paraphrases: Items = []
        if column := s.paraphrases.get(name):
            other = replace(testset, text=[column], options=None, answer=None)
            paraphrases = [(item.id, item.text) for item in read_testset(name, other)]
        texts[name] = items, paraphrases
    if s.control is not None:
        documents = sample_texts(Path(s.control), s.items)
        texts[CONTROL] = [(str(n), " ".join(t.split()[: s.control_words])) for n, t in enumerate(documents)], []
    return texts


def probe(
    speaker: Speaker, texts: dict[str, tuple[Items, Items]], s: Settings
) -> tuple[list[Row], list[Row], dict[str, dict[str, int]]]:
    """The measures' rows of one model, those of single items, and what was probed and what left out of each set."""
    rows: list[Row] = []
    details: list[Row] = []
    counts: dict[str, dict[str, int]] = {}
    min_k: dict[str, list[float]] = {}
    for name, (items, paraphrases) in texts.items():
        fitting, counts[name] = choose_items(speaker, items, s.min_words)
        probes = {
            "second_half": memorised.second_halves(fitting),
            "next_sentence": memorised.next_sentences(fitting),
            # the control's texts have no order
            "next_item": memorised.next_items(items, fitting) if name != CONTROL else [],
        }
        for kind, all_pairs in probes.items():
            pairs = evenly([pair for pair in all_pairs if fits(speaker, pair)], s.items)
            counts[name][kind] = len(pairs)
            if len(pairs) > 1:
                judged = complete(speaker, pairs, s.batch_tokens)
                rows += [{"testset": name, "probe": kind, **row} for row in memorised.summarise_pairs(judged)]
                details += [{"testset": name, "probe": kind, **row} for row in judged]
        measured = membership(speaker, evenly(fitting, s.items), dict(paraphrases), s)
        min_k[name] = [row["min_k"] for row in measured]
        counts[name]["membership"] = len(measured)
        rows += [{"testset": name, "probe": "membership", **row} for row in memorised.summarise_membership(measured)]
        details += [{"testset": name, "probe": "membership", **row} for row in measured]
    for name in s.testsets if CONTROL in min_k else []:
        auc = memorised.auc_interval(min_k[name], min_k[CONTROL])
        row = memorised.row_of("auc", "ratio", auc, len(min_k[name]))
        rows.append({"testset": name, "probe": "membership", **row})
    return rows, details, counts


def choose_items(speaker: Speaker, items: Items, min_words: int) -> tuple[Items, dict[str, int]]:
    """The items that are neither too short nor longer than the model can read, and counts of the others."""
    counts, fitting = Counter(items=len(items)), []
    for id, text in items:
        if len(text.split()) < min_words:
            counts["too short"] += 1
        elif room(speaker, text_ids(speaker, text)) < 1:
            counts["too long"] += 1
        else:
            fitting.append((id, text))
    if len(fitting) < 2:
        raise BadInput(f"probes: {len(fitting)} items can be probed, of {dict(counts)}; lower min_words")
    return fitting, dict(counts)


def fits(speaker: Speaker, pair: Pair) -> bool:
    """Whether prompt and reference together fit into the model."""
    return room(speaker, text_ids(speaker, f"{pair.prompt} {pair.reference}")) >= 1


def complete(speaker: Speaker, pairs: list[Pair], batch_tokens: int) -> list[Row]:
    """What the model makes of each beginning, in as many tokens as the reference has, judged."""
    prompts = [text_ids(speaker, pair.prompt) for pair in pairs]
    wholes = [text_ids(speaker, f"{pair.prompt} {pair.reference}") for pair in pairs]
    lengths = [max(1, len(whole) - len(prompt)) for whole, prompt in zip(wholes, prompts, strict=True)]
    said = continue_greedily(speaker, prompts, lengths, batch_tokens)
    others = [pairs[(n + len(pairs) // 2) % len(pairs)] for n in range(len(pairs))]
    return [memorised.judge(*row) for row in zip(pairs, others, said, strict=True)]


def continue_greedily(speaker: Speaker, prompts: list[list[int]], lengths: list[int], batch_tokens: int) -> list[str]:
    """The likeliest continuation of each prompt's tokens, token by token, of its own length; several at a time."""
    import torch

    model, tokenizer = speaker.model, speaker.tokenizer
    texts = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda n: -len(prompts[n]) - lengths[n])
    while order:
        rows = order[: max(1, batch_tokens // (len(prompts[order[0]]) + lengths[order[0]]))]
        order = order[len(rows) :]
        width = max(len(prompts[n]) for n in rows)
        # padding goes to the left: the new tokens follow the prompts
        ids_BT = torch.tensor([[tokenizer.eos_token_id] * (width - len(prompts[n])) + prompts[n] for n in rows])
        mask_BT = torch.tensor([[0] * (width - len(prompts[n])) + [1] * len(prompts[n]) for n in rows])
        output_BT = model.generate(
            ids_BT.to(model.device),
            attention_mask=mask_BT.to(model.device),
            max_new_tokens=max(lengths[n] for n in rows),
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
        )
        for n, ids_T in zip(rows, output_BT[:, width:].tolist(), strict=True):
            texts[n] = tokenizer.decode(ids_T[: lengths[n]], skip_special_tokens=True)
    return texts


def membership(speaker: Speaker, items: Items, paraphrases: dict[str, str], s: Settings) -> list[Row]:
    """Of each item min-k%, its bits per byte, and how many more its paraphrase needs."""
    from snakmodel.likelihood import document_bits, encode, token_log_probabilities
    from snakmodel.shared_prefix import longest_input

    model, tokenizer = speaker.model, speaker.tokenizer
    texts = [text for _, text in items]
    others = [paraphrases.get(id) or memorised.swap_words(text) for id, text in items]
    sequences = [(ids, 1) for ids in encode(tokenizer, texts)]
    tokens = token_log_probabilities(model, sequences, s.batch_tokens)
    window = longest_input(model)
    bits, other_bits = (
        [total / size for total, size in document_bits(model, tokenizer, some, window, s.batch_tokens)]
        for some in (texts, others)
    )
    return [
        {"item": id, "min_k": memorised.min_k(log_ps, s.min_k), "bits_per_byte": own, "against_paraphrase": other - own}
        for (id, _), log_ps, own, other in zip(items, tokens, bits, other_bits, strict=True)
    ]


def recognition(speaker: Speaker, s: Settings) -> list[Row]:
    """What the model says to each question about each set, in the chat template where its tokenizer has one."""
    asked = [
        {"testset": name, "language": language, "question": question.format(name=s.titles.get(name, name))}
        for name in s.testsets
        for language, questions in QUESTIONS.items()
        for question in questions
    ]
    prompts = [
        chat_ids(speaker, [{"role": "user", "content": row["question"]}])
        if speaker.chats
        else text_ids(speaker, row["question"] + "\n")
        for row in asked
    ]
    said = continue_greedily(speaker, prompts, [s.answer_tokens] * len(asked), s.batch_tokens)
    return [row | {"said": text} for row, text in zip(asked, said, strict=True)]


if __name__ == "__main__":
    run_script(main)
