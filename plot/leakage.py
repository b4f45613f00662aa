"""Draw how much of the test sets stands in what was trained on, and what the models show of it over the steps.

python plot/leakage.py --config configs/tiny.yaml

The rates of analyze/leakage.py, and the probes of analyze/probes.py: whichever of the two has run.
"""

from pathlib import Path

from plot import layout, style
from plot.extents import CHANGE, NATS, SHARE
from snakmodel.config import BadInput, run_script
from snakmodel.paths import Run, stage_of
from snakmodel.records import read_json

RATES = {  # of leakage.json, from the weakest rule to the strongest
    "found": "found: an n-gram",
    "held": "held: most of its words",
    "whole": "whole",
    "answered": "held, and its answer near by",
}
PROBES = {  # (probe, measure) of probes.json -> what it is; the control is the same against another item
    ("second_half", "exact"): "Second half verbatim (share)",
    ("second_half", "rouge_l"): "Second half (ROUGE-L)",
    ("next_item", "rouge_l"): "Next item (ROUGE-L)",
    ("membership", "min_k"): "Min-k% (nats per token)",
    ("membership", "against_paraphrase"): "Paraphrase − item (bits per byte)",
    ("membership", "auc"): "AUC against held-out text",
}
TEXT, TEXTS_PLACE = "held-out", 15  # what no test set is, and the number of its look
EXTENTS = {"min_k": NATS, "against_paraphrase": CHANGE}  # of a measure's axis; the others are shares of 1
NAME_WIDTH = 1.5  # inches of a test set's name beside the rates
NEUTRAL = {"auc": 0.5, "against_paraphrase": 0.0}  # where nothing is known of the set


def probe_curves(rows: list[style.Row], probe: str, measure: str) -> dict[str, list[style.Row]]:
    """Test set, or "SET, control" -> rows over steps, of one series."""
    mine = sorted((row for row in rows if row["probe"] == probe), key=lambda row: row["step"])
    found = {}
    for testset, of_set in style.group(mine, "testset").items():
        for name, wanted in ((testset, measure), (f"{testset}, control", f"{measure}_control")):
            if points := [row for row in of_set if row["measure"] == wanted]:
                found[name] = points
    return found


def places_of(rows: list[style.Row]) -> dict[str, int]:
    """Test set, or the text that sets are compared with -> the number of its look, in all panels of a series."""
    testsets = sorted({row["testset"] for row in rows}, key=style.order_of)
    wanted = {testset: TEXTS_PLACE if testset == TEXT else style.place_of(testset) for testset in testsets}
    return {testset: place for testset, (place, _) in style.looks(wanted, dashes=False).items()}


def draw_rates(rows: list[style.Row], folder: Path) -> None:
    """A panel a corpus, a line a test set, a marker a rule with its 95% interval."""
    corpora, sets = style.group(rows, "corpus"), list(style.group(rows, "testset"))
    figure, axes = style.new_figure(style.PAGE, 1.1 + 0.34 * len(sets), columns=len(corpora), sharey=True)
    absent = {"value": None, "low": None, "high": None}
    for panel, (corpus, mine) in zip(axes[0], corpora.items(), strict=True):
        for place, (measure, name) in enumerate(RATES.items()):
            found = {row["testset"]: row for row in mine if row["measure"] == measure and row["value"] is not None}
            ordered = [found.get(testset, absent) for testset in sets]
            percent = [{key: None if row[key] is None else 100 * row[key] for key in absent} for row in ordered]
            style.draw_points(panel, name, percent, place, 0.2 * (place - (len(RATES) - 1) / 2), across=True)
        panel.yaxis.set_ticks(range(len(sets)), [layout.broken(name, NAME_WIDTH) for name in sets])
        panel.set(title=f"in {corpus}", xlabel="Items (%)", xlim=(-3, 103))
        panel.grid(axis="y", visible=False)
    axes[0, 0].invert_yaxis()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    note = "A panel a stage of the corpus, a line a test set; percent of the items that were searched for, bars and "
    note += "brackets: Wilson's 95% interval"
    style.save(figure, folder, "rates", "Test items that stand in the training data", note)


def draw_probes(series: str, rows: list[style.Row], axis: str | None, folder: Path) -> None:
    """A panel a probe, a line a test set; its control is dashed and hollow."""
    found = {key: curves for key in PROBES if (curves := probe_curves(rows, *key))}
    if not found:
        print(f"{series}: probes not drawn: none of {', '.join(measure for _, measure in PROBES)}", flush=True)
        return
    figure, panels = layout.new_panels([PROBES[key] for key in found], 1.75)
    places = places_of(rows)
    for panel, ((_, measure), curves) in zip(panels, found.items(), strict=True):
        for name, mine in curves.items():
            testset = mine[0]["testset"]
            style.draw_curve(panel, name, mine, places[testset], hollow=name != testset)
        if measure in NEUTRAL:
            panel.axhline(NEUTRAL[measure], color="black", linewidth=0.6, linestyle=":", label="_neutral")
        style.bound(panel, EXTENTS.get(measure, SHARE))
        style.label_steps(panel, [], axis)
    layout.add_legend(figure, layout.handles_of(panels), 3, handlelength=3)
    note = f"Over {axis or 'pre-training steps'}, a panel a probe; bands and brackets: 95% interval over items; "
    note += "hollow: the same texts against another item, which is what style alone gives; dotted: nothing known"
    style.save(figure, folder, f"probes-{series}", f"What series {series} shows of the test sets", note)


def find(run: Run) -> style.Inputs:
    """What there is of rates and probes."""
    rates, probes = run.folder("leakage"), run.folder("probes").with_suffix(".json")
    found = {"leakage": rates} if (rates / "run.json").is_file() else {}
    found |= {"probes": probes} if probes.is_file() else {}
    if not found:
        scripts = f"{stage_of('leakage').script} or {stage_of('probes').script}"
        raise BadInput(f"{rates}/run.json and {probes} not found: run {scripts} first")
    return found | style.find_axes(run)


def draw(inputs: style.Inputs, folder: Path) -> None:
    """The rates, and a figure of probes a series."""
    if "leakage" in inputs:
        draw_rates(read_json(inputs["leakage"] / "leakage.json")["rows"], folder)
    else:
        print(f"rates not drawn: {stage_of('leakage').script} has not run", flush=True)
    if "probes" in inputs:
        axes = style.read_axes(inputs)
        for series, rows in style.group(read_json(inputs["probes"])["rows"], "series").items():
            draw_probes(series, rows, axes.get(series), folder)
    else:
        print(f"probes not drawn: {stage_of('probes').script} has not run", flush=True)


def main() -> None:
    style.run("plot_leakage", __doc__, find, draw)


if __name__ == "__main__":
    run_script(main)
