"""What the report says, as plain sections of text and tables: pure functions of a run's records and JSON files."""

from typing import Any

import yaml

from plot.report_parts import Section, Table, cell, heading, joined, number, seconds, short_commit
from plot.style import LANGUAGES, METRICS, task_name, task_places
from snakmodel.paths import Stage, stage_of

HELD_OUT = "bits_per_byte"
CORPUS = {  # section -> what its column of drops is called
    "read_sources": "Dropped when read",
    "filter_language": "Not in the language",
    "deduplicate": "Duplicates",
    "make_shards": "Dropped from shards",
}
FACTS = {"kept": "Documents kept", "words": "Words", "tokens": "Tokens", "validation_documents": "Held out"}
TOKENS = 20  # most changed tokens that a table lists

Row = dict[str, Any]
Records = dict[str, list[Row]]  # section -> its run.json files, a step folder each where there are several


def score(row: Row) -> str:
    """ "71.2 [66.0, 76.4]"; bits per byte with three decimals."""
    digits = 3 if row["metric"] == HELD_OUT else 1
    band = f" [{number(row['low'], digits)}, {number(row['high'], digits)}]" if row.get("low") is not None else ""
    return number(row["value"], digits) + band


def summary(records: Records, wanted: list[Stage], checks: Row | None) -> str:
    """The run in a few words."""
    done = [stage for stage in wanted if stage.section in records]
    every = [record for mine in records.values() for record in mine]
    text = f"{len(done)} of the recipe's {len(wanted)} stages have finished"
    if every:
        commits = joined(short_commit(record["commit"]) for record in every)
        text += f", in {seconds(sum(record['seconds'] for record in every))} of computing, at commit {commits}"
    if checks is not None:
        passed = sum(check["passed"] for check in checks["checks"])
        text += f". {passed} of {len(checks['checks'])} checks passed"
    return f"{text}."


def stages(records: Records, wanted: list[Stage], unfinished: list[str]) -> Section:
    """What was run: a line a stage of the recipe, with its time, memory and commit, and the versions used."""
    rows = []
    for stage in wanted:
        if mine := records.get(stage.section):
            time, memory = sum(r["seconds"] for r in mine), max(r["peak_memory_bytes"] for r in mine)
            finished = max(record["finished"] for record in mine).replace("T", " ").removesuffix("Z")
            commits = joined(short_commit(record["commit"]) for record in mine)
            rows.append([stage.script, number(len(mine)), seconds(time), f"{memory / 1e9:,.2f} GB", finished, commits])
    every = [record for mine in records.values() for record in mine]
    versions = [[n, joined(r["versions"][n] for r in every if n in r["versions"])] for n in all_versions(every)]
    head = ["Stage", "Folders", "Time", "Peak memory", "Finished (UTC)", "Commit"]
    return Section(
        "What was run",
        {"": [f"Begun but not finished: {folder}." for folder in unfinished]},
        [Table("Stages", head, rows), Table("Versions", ["Package", "Version"], versions)],
        not_run=[stage.script for stage in wanted if stage.section not in records],
    )


def all_versions(records: list[Row]) -> list[str]:
    """Names of the packages that any record gives a version of."""
    return list(dict.fromkeys(name for record in records for name in record["versions"]))


def by_series(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows by their series, in the order in which the series first come."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["series"], []).append(row)
    return groups


def primary(rows: list[Row]) -> list[Row]:
    """The rows of the data sets' main metrics that have a value, by step."""
    return sorted((r for r in rows if r["primary"] and r["value"] is not None), key=lambda row: row["step"])


def key_results(rows: list[Row], language: str) -> Section:
    """First against last step of every series in words: held-out text, then tasks against chance."""
    section = Section("Key results")
    for series, mine in by_series(primary(rows)).items():
        curves: dict[str, list[Row]] = {}
        for row in mine:
            curves.setdefault(row["dataset"], []).append(row)
        ends = [(curve[0], curve[-1]) for curve in curves.values()]
        held_out = [held_out_sentence(*pair, language) for pair in ends if pair[0]["metric"] == HELD_OUT]
        tasks = [task_sentence(*pair) for pair in ends if pair[0]["metric"] != HELD_OUT]
        section.sentences[f"Series {series}, with 95% intervals"] = held_out + tasks
    if not section.sentences:
        section.not_run = [stage_of("collect").script]
    return section


def held_out_sentence(first: Row, last: Row, language: str) -> str:
    """How bits per byte of a language's text went; of any language but the one trained on, a rise is forgetting."""
    name = f"Bits per byte of held-out {LANGUAGES.get(last['language'], last['language'])} text"
    if first["step"] == last["step"]:
        return f"{name}: {score(last)} at step {number(last['step'])}."
    change = 100 * (last["value"] / first["value"] - 1)
    verdict = "fell" if change < 0 else "rose"
    why = " (forgetting)" if change > 0 and last["language"] != language else ""
    return (
        f"{name} {verdict} by {abs(change):.1f}%{why}, from {score(first)} at step {number(first['step'])} "
        f"to {score(last)} at step {number(last['step'])}."
    )


def task_sentence(first: Row, last: Row) -> str:
    """A task's last score, its first one, and whether the last one's interval lies clear of chance."""
    name = task_name(last["dataset"])[1]
    text = f"{name[0].upper()}{name[1:]} ({metric_name(last)}): {score(last)} at step {number(last['step'])}"
    if first["step"] != last["step"]:
        text += f", from {score(first)} at step {number(first['step'])}"
    if last["chance"] is None or last.get("low") is None:
        return f"{text}."
    above, below = last["low"] > last["chance"], last["high"] < last["chance"]
    verdict = "above" if above else "below" if below else "not told apart from"
    return f"{text}; {verdict} chance ({number(last['chance'], 1)})."


def column_name(row: Row) -> str:
    """ "Senti (macro F1)", "Danish (bits per byte)"."""
    held_out = LANGUAGES.get(row["language"], row["language"]) if row["metric"] == HELD_OUT else None
    return f"{held_out or task_name(row['dataset'])[0]} ({metric_name(row)})"


def metric_name(row: Row) -> str:
    """ "macro F1"."""
    return METRICS.get(row["metric"], row["metric"].replace("_", " "))


def score_tables(rows: list[Row]) -> Section:
    """Steps down, data sets across, a table a series."""
    section = Section("Scores")
    for series, mine in by_series(primary(rows)).items():
        heads = {row["dataset"]: column_name(row) for row in mine}
        tasks = {row["dataset"] for row in mine if row["metric"] != HELD_OUT}
        order = [d for d in heads if d not in tasks] + list(task_places(tasks))
        lines: dict[int, dict[str, str]] = {}
        for row in mine:
            lines.setdefault(row["step"], {})[row["dataset"]] = score(row)
        table = [[number(step), *(cells.get(dataset, "–") for dataset in order)] for step, cells in lines.items()]
        caption = f"Scores of {series} with 95% intervals, by step"
        section.tables.append(Table(caption, ["Step", *(heads[dataset] for dataset in order)], table))
    if not section.tables:
        section.not_run = [stage_of("collect").script]
    return section


def checks(data: Row | None) -> Section:
    """Every check with its value and bound, and any further list of facts as a table of its own."""
    if data is None:
        return Section("Checks", not_run=[stage_of("check").script])
    rows = [
        [
            check["name"],
            "passed" if check["passed"] else "FAILED",
            cell(check["value"]),
            cell(check["bound"]),
            check["what"],
        ]
        for check in data["checks"]
    ]
    head = ["Check", "Result", "Value", "Bound", "What is checked"]
    tables = [Table("Checks of the run", head, rows)]
    for name, facts in data.items():
        if name != "checks" and facts:  # a table of its own: what was planted, say, and how much of it was found
            lines = [[cell(value) for value in fact.values()] for fact in facts]
            tables.append(Table(heading(name), [heading(key) for key in facts[0]], lines))
    return Section("Checks", tables=tables)


def corpus(records: Records) -> Section:
    """Per source: units read, dropped per reason at each step, and what was kept."""
    found = {section: records[section][0]["counts"] for section in CORPUS if section in records}
    section = Section("Corpus", not_run=[stage_of(name).script for name in CORPUS if name not in found])
    if not found:
        return section
    steps = list(found.values())
    nothing: Row = {"seen": 0, "kept": 0, "dropped": {}}
    rows = []
    for source in steps[0]:
        counts = [step.get(source, nothing) for step in steps]
        drops = ["; ".join(f"{reason} {number(n)}" for reason, n in c["dropped"].items()) or "–" for c in counts]
        rows.append([source, number(counts[0]["seen"]), *drops, *(number(counts[-1].get(fact)) for fact in FACTS)])
    sums = [number(sum(n for count in step.values() for n in count["dropped"].values())) for step in steps]
    facts = [number(sum(c[fact] for c in steps[-1].values() if fact in c)) for fact in FACTS]
    rows.append(["all sources", number(sum(count["seen"] for count in steps[0].values())), *sums, *facts])
    head = ["Source", "Units read", *(CORPUS[name] for name in found), *FACTS.values()]
    section.tables.append(Table("Documents by source", head, rows))
    return section


def changed_tokens(data: Row | None) -> Section:
    """The tokens whose vectors moved most at each series' last step, a table a series."""
    section = Section("Most changed tokens")
    for series, mine in by_series(data["rows"] if data else []).items():
        last = max(row["step"] for row in mine)
        final = [row for row in mine if row["step"] == last]
        heads = [f"{row['matrix']} (mean change {row['mean']:.3g})" for row in final]
        depth = min(TOKENS, *(len(row["most"]) for row in final))
        columns = [[f"{each['token']} {each['change']:.3g}" for each in row["most"][:depth]] for row in final]
        rows = [[str(rank), *cells] for rank, cells in enumerate(zip(*columns, strict=True), start=1)]
        caption = f"Tokens of {series} by the summed change of their vectors at step {number(last)}"
        section.tables.append(Table(caption, ["Rank", *heads], rows))
    if not section.tables:
        section.not_run = [stage_of("embeddings").script]
    return section


def samples(data: Row | None, language: str) -> Section:
    """What each sampled step makes of the same prompts, side by side."""
    section = Section("Sample texts")
    for series, mine in by_series(data["rows"] if data else []).items():
        steps = sorted({row["step"] for row in mine})
        texts = {(row["prompt"], row["step"]): row["text"] for row in mine}
        prompts = dict.fromkeys(row["prompt"] for row in mine)
        rows = [[prompt, *(texts.get((prompt, step), "–") for step in steps)] for prompt in prompts]
        head = ["Prompt", *(f"Step {number(step)}" for step in steps)]
        section.tables.append(Table(f"Continuations by {series}", head, rows, language))
    if not section.tables:
        section.not_run = [stage_of("samples").script]
    return section


def settings(records: Records, wanted: list[Stage]) -> Section:
    """The settings and commit of every stage, each combination once with the folders that it made."""
    section = Section("Settings")
    for stage in wanted:
        groups: dict[str, list[str]] = {}
        for record in records.get(stage.section, []):
            facts = {"commit": record["commit"], "config": record["config"], "settings": record["settings"]}
            text = yaml.safe_dump(facts, allow_unicode=True, sort_keys=False)
            groups.setdefault(text, []).append(record["folder"])
        for text, folders in groups.items():
            where = folders[0] if len(folders) == 1 else f"{len(folders)} folders, {folders[0]} to {folders[-1]}"
            section.details.append((f"{stage.script}: {where}", text))
    return section
