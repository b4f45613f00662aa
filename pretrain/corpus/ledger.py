"""Count the corpus after every step: as JSON, as a paper's data table, and in a data set card for the Hub.

python pretrain/corpus/ledger.py --config configs/tiny.yaml

Writes ledger.json, table.md, table.tex (booktabs) and README.md, the card, whose text is in card.md.jinja. A step that
has not run is left out; a step that did not see what the step before it kept is refused.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from pretrain.corpus import read_sources
from pretrain.corpus.sieve import source_patterns
from pretrain.corpus.sources import Source, find_source
from snakmodel.config import BadInput, Command, knob, read_command, read_recipe, run_script
from snakmodel.paths import Run, stage_of
from snakmodel.printed_tables import Row, escape_markdown, thousands, to_latex, to_markdown
from snakmodel.records import begin, missing, read_json, write_json, write_text

COLUMNS = {  # what the table calls the documents that are left after a step
    "read_sources": "Documents",
    "filter_language": "In language",
    "filter_quality": "Good",
    "decontaminate": "Decontaminated",
    "deduplicate": "Unique",
}
NUMBERS = ("seen", "documents", "words", "bytes", "tokens")

Counts = dict[str, dict[str, Any]]  # source -> seen, kept, dropped, words, bytes, and tokens where they were counted


@dataclass
class Settings:
    name: str = knob("", "what the card calls the corpus; empty: the name of run_dir")


def main() -> None:
    command = read_command(Settings, "ledger", __doc__)
    run, folder = command.run, command.run.folder("ledger")
    steps = finished_steps(run)
    recipe = read_command(read_sources.Settings, "read_sources", None, ["--config", str(command.config)]).settings
    inputs: dict[str, str | Path] = {step: run.folder(step) for step in steps}
    # licences are in no step's record, since they change no document
    inputs |= {file: Path(file) for file in (recipe.catalogue, *read_recipe(command.config)[1].values())}
    work = begin(command, folder, inputs, derived=True)
    if work is None:
        return
    records = {step: read_json(run.folder(step) / "run.json") for step in steps}
    ledger = build_ledger({step: record["counts"] for step, record in records.items()})
    sources = {name: find_source(name, recipe.own, recipe.catalogue, "ledger") for name in ledger["sources"]}
    head, rows = data_table(ledger)
    write_json(folder / "ledger.json", ledger)
    write_text(folder / "table.md", to_markdown(head, rows))
    write_text(folder / "table.tex", to_latex(head, rows, last=1))
    write_text(folder / "README.md", render_card(command, ledger, records, sources))
    first, last = ledger["totals"][steps[0]], ledger["totals"][steps[-1]]
    print(
        f"{len(sources)} sources: {last['documents']:,} of {first['seen']:,} documents, {last['words']:,} words, "
        f"{thousands(last['tokens'])} tokens; {folder}",
        flush=True,
    )
    work.finish()


def finished_steps(run: Run) -> list[str]:
    """The corpus steps of a run that have finished, in their order: those whose record counts documents."""
    records = {step: run.folder(step) / "run.json" for step in (*COLUMNS, "make_shards")}
    steps = [step for step, path in records.items() if path.is_file()]
    if "read_sources" not in steps:
        raise BadInput(missing(records["read_sources"]))
    return steps


def build_ledger(counts: dict[str, Counts]) -> dict[str, Any]:
    """What every source is after every step; raises BadInput where the counts of two steps do not meet.

    counts: step -> source -> counts. Tokens are null up to the step that counts them.
    """
    names = list(dict.fromkeys(name for step in counts.values() for name in step))
    nothing = {"seen": 0, "kept": 0, "dropped": {}, "words": 0, "bytes": 0}
    whole = {step: {name: counts[step].get(name, nothing) for name in names} for step in counts}
    for name in names:
        for step, mine in whole.items():
            if (accounted := mine[name]["kept"] + sum(mine[name]["dropped"].values())) != mine[name]["seen"]:
                raise BadInput(f"{step}: {name}: saw {mine[name]['seen']:,} documents, kept or dropped {accounted:,}")
        for before, after in pairwise(whole):
            kept, seen = whole[before][name]["kept"], whole[after][name]["seen"]
            if kept != seen:
                script = stage_of(after).script
                raise BadInput(
                    f"{name}: {before} kept {kept:,} documents, {after} saw {seen:,}; run {script} with --overwrite"
                )
    entries = {name: {step: entry(whole[step][name]) for step in whole} for name in names}
    totals = {step: total([mine[step] for mine in entries.values()]) for step in whole}
    return {"steps": list(whole), "sources": entries, "totals": totals}


def entry(counts: dict[str, Any]) -> dict[str, Any]:
    """One source after one step."""
    facts = {"seen": counts["seen"], "documents": counts["kept"], "words": counts["words"], "bytes": counts["bytes"]}
    return {**facts, "tokens": counts.get("tokens"), "dropped": counts["dropped"]}


def total(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The sum of several sources; tokens are null where they are not known of all."""
    sums: dict[str, Any] = {}
    for key in NUMBERS:
        values = [mine[key] for mine in entries]
        sums[key] = None if None in values else sum(values)
    sums["dropped"] = Counter[str]()
    for mine in entries:
        sums["dropped"].update(mine["dropped"])
    return sums


def document_steps(ledger: dict[str, Any]) -> list[str]:
    """The steps that drop documents: all but the one that turns them into tokens."""
    return [step for step in ledger["steps"] if step != "make_shards"]


def data_table(ledger: dict[str, Any]) -> tuple[Row, list[Row]]:
    """Heads and rows of the table: a row a source, the sums last. Shares are of the words after the last step."""
    steps, last = document_steps(ledger), ledger["steps"][-1]
    words, size = ledger["totals"][last]["words"], ledger["totals"][last]["bytes"]
    name, unit = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6)
    head = ["Source", "Read", *(COLUMNS.get(step, step) for step in steps), "Words", name, "Tokens", "Share (%)"]
    rows = []
    for source, mine in {**ledger["sources"], "All sources": ledger["totals"]}.items():
        documents = [thousands(mine[steps[0]]["seen"]), *(thousands(mine[step]["documents"]) for step in steps)]
        end = mine[last]
        share = 100 * end["words"] / max(words, 1)
        sizes = [thousands(end["words"]), f"{end['bytes'] / unit:,.2f}", thousands(end["tokens"]), f"{share:.1f}"]
        rows.append([source, *documents, *sizes])
    return head, rows


def replaced_data(records: dict[str, Any]) -> str:
    """ "12 e-mail, 3 phone": what filter_quality.py has replaced in all sources; empty where it replaced nothing."""
    totals = Counter[str]()
    for counts in records.get("filter_quality", {}).get("replaced", {}).values():
        totals.update(counts)
    return ", ".join(f"{number:,} {kind}" for kind, number in totals.items())


def render_card(
    command: Command[Settings], ledger: dict[str, Any], records: dict[str, Any], sources: dict[str, Source]
) -> str:
    """The data set card: YAML front matter for the Hub, then what the corpus is, how it was made, and its limits."""
    import jinja2  # late: a finished stage says so at once

    options: Any = {"trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), **options)
    environment.filters |= {"cell": escape_markdown, "thousands": thousands, "yaml": to_yaml}
    name = command.settings.name or command.run.root.name
    parts = command.run.folder(document_steps(ledger)[-1])
    return environment.get_template("card.md.jinja").render(
        name=name,
        front_matter=front_matter(name, ledger, records, sources, parts),
        table=to_markdown(*data_table(ledger)),
        ledger=ledger,
        records=records,
        replaced=replaced_data(records),
        sources=sources,
        parts=parts.relative_to(command.run.root).as_posix(),
        refused=[name for name, source in sources.items() if source.redistribution == "no"],
        unknown=[name for name, source in sources.items() if source.redistribution == "unknown"],
        language=language(records),
        scripts={step: stage_of(step).script for step in ledger["steps"]},
    )


def front_matter(
    name: str, ledger: dict[str, Any], records: dict[str, Any], sources: dict[str, Source], parts: Path
) -> dict[str, Any]:
    """What the Hub reads: a configuration for all sources and one for each, without those that must not be passed on.

    https://huggingface.co/docs/hub/datasets-cards
    """
    shared = [source for source, facts in sources.items() if facts.redistribution != "no"]
    # the Hub refuses a pattern that matches nothing
    files = {source: [p for p in source_patterns(source) if any(parts.glob(p))] for source in shared}
    configs = {"default": [pattern for patterns in files.values() for pattern in patterns], **files}
    return {
        "pretty_name": name,
        **({"language": [language(records)]} if language(records) else {}),
        "license": "other",
        "license_name": "several",
        "license_link": "README.md#sources-and-their-licences",
        "task_categories": ["text-generation"],
        "size_categories": [size_category(ledger["totals"][ledger["steps"][-1]]["documents"])],
        "configs": [{"config_name": key, "data_files": found} for key, found in configs.items() if found],
    }


def language(records: dict[str, Any]) -> str | None:
    """The language that was kept, or None."""
    return records["filter_language"]["settings"]["language"] if "filter_language" in records else None


def size_category(documents: int) -> str:
    """The Hub's name for a size: "10K<n<100K"."""
    names = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    for power, name in enumerate(names):
        if documents < 1_000 * 10**power:
            return f"{names[power - 1]}<n<{name}" if power else "n<1K"
    return "n>1T"


def to_yaml(data: Any) -> str:
    """YAML in the order given."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120).rstrip()


if __name__ == "__main__":
    run_script(main)
