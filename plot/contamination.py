"""Draw the scores of clean and of contaminated test items apart, and their difference, over the steps of every series.

python plot/contamination.py --config configs/tiny.yaml

A gap that opens as a series goes on is what leaked items are worth; merely easier items show it from the start.
"""

from collections.abc import Iterator
from pathlib import Path

from plot import layout, style
from plot.chart import known
from plot.extents import GAIN, POINTS
from plot.scores import name_way, split_ways, tell_way
from snakmodel.config import BadInput, run_script
from snakmodel.paths import Run, stage_of
from snakmodel.records import read_json

OF_DIFFERENCE = "95% interval of the difference, over items"
LAID_ON = f"band: {OF_DIFFERENCE}, laid on the clean items' score; where it holds that, the difference may be chance"


def split(rows: list[style.Row]) -> Iterator[tuple[str, str, str, list[style.Row]]]:
    """What may share a curve: a series' rows by one way of scoring, which is named where there are several, in words
    and for a file. Models without steps are none of it.
    """
    ways = split_ways([row for row in rows if row["step"] is not None])
    for way, of_way in ways.items():
        for series, mine in style.group(of_way, "series").items():
            yield series, f", {tell_way(way)}" if len(ways) > 1 else "", name_way(way, list(ways)), mine


def curves(rows: list[style.Row]) -> dict[str, dict[str, list[style.Row]]]:
    """Data set, as it is called -> clean and contaminated -> rows over steps, of one series.

    The contaminated have the interval of the difference, laid on the clean ones' score.
    """
    ordered = sorted(rows, key=lambda row: (style.order_of(row["dataset"]), row["step"]))
    return {
        dataset: {
            "clean": [{**row, "value": row["clean"], "low": None, "high": None} for row in mine],
            "contaminated": [{**row, "value": row["contaminated"], **laid_on_clean(row)} for row in mine],
        }
        for dataset, mine in style.group(ordered, "dataset").items()
    }


def laid_on_clean(row: style.Row) -> dict[str, float | None]:
    """The ends of the difference's interval, above the clean items' score."""
    return {
        end: row["clean"] + row[end] if known(row, "clean") and known(row, end) else None for end in ("low", "high")
    }


def gaps(rows: list[style.Row]) -> dict[str, list[style.Row]]:
    """Data set -> contaminated less clean over steps, of one series, where both have items."""
    both = [row for row in rows if known(row, "difference")]
    ordered = sorted(both, key=lambda row: (style.order_of(row["dataset"]), row["step"]))
    return style.group([{**row, "value": row["difference"]} for row in ordered], "dataset")


def tell_items(parts: dict[str, list[style.Row]]) -> str:
    """ "80 clean, 20 contaminated items, 5 not searched for"; "78 to 80" where steps differ."""
    told = {}
    for part in ("clean", "contaminated", "unsearched"):
        counts = sorted({row[f"{part}_items"] for row in parts["clean"]})
        told[part] = f"{counts[0]:,}" + (f" to {counts[-1]:,}" if len(counts) > 1 else "")
    unsearched = f", {told['unsearched']} not searched for" if told["unsearched"] != "0" else ""
    return f"{told['clean']} clean, {told['contaminated']} contaminated items{unsearched}"


def tell_unsearched(rates: list[style.Row]) -> str:
    """The test sets that leakage.json has, but of which no item was searched for, in any corpus; "": there are none."""
    sets = style.group([row for row in rates if row["measure"] == "found"], "testset")
    names = [name for name, mine in sets.items() if not any(row["of"] for row in mine)]
    return f"not drawn, no item was searched for: {', '.join(names)}" if names else ""


def draw_parts(name: str, file: str, rows: list[style.Row], axis: str | None, unsearched: str, folder: Path) -> None:
    """A panel a data set: clean items solid, contaminated ones dashed and hollow. name: of the series."""
    named = curves(rows)
    figure, panels = layout.new_panels([f"{what}:\n{tell_items(parts)}" for what, parts in named.items()], 1.7)
    for panel, parts in zip(panels, named.values(), strict=True):
        for place, (part, mine) in enumerate(parts.items()):
            if any(known(row, "value") for row in mine):
                style.draw_curve(panel, part, mine, place, hollow=part == "contaminated")
        style.bound(panel, POINTS)
        style.label_steps(panel, [], axis)
    for panel in panels[:: layout.COLUMNS]:
        panel.set_ylabel("Mean score of items")
    handles = layout.handles_of(panels)
    if any(known(row, "low") for parts in named.values() for row in parts["contaminated"]):
        handles = {part + f" (band: {OF_DIFFERENCE})" * (part != "clean"): drawn for part, drawn in handles.items()}
    layout.add_legend(figure, handles, 2, handlelength=3)
    title = f"Scores of clean and of contaminated items, series {name}"
    note = f"Over {axis or 'pre-training steps'}, a panel a data set; mean score of its items, 0 to 100"
    note += f"; hollow: contaminated items; {LAID_ON}" + (f"; {unsearched}" if unsearched else "")
    style.save(figure, folder, f"parts-{file}", title, note)


def draw_gaps(name: str, file: str, rows: list[style.Row], axis: str | None, folder: Path) -> None:
    """Contaminated less clean, a line a data set, with its interval."""
    found = gaps(rows)
    if not found:
        print(f"{name}: difference not drawn: no data set has both clean and contaminated items", flush=True)
        return
    figure, axes = style.new_figure(style.COLUMN, 2.4 + 0.12 * len(found))
    panel = axes[0, 0]
    for what, (place, again) in style.looks({what: style.place_of(what) for what in found}).items():
        style.draw_curve(panel, what, found[what], place, again)
    panel.axhline(0, color="black", linewidth=0.6, linestyle=":", label="_zero")
    style.bound(panel, GAIN)
    panel.set_ylabel("Contaminated less clean\n(points, 95% interval)")
    style.label_steps(panel, [], axis)
    layout.add_legend(figure, layout.handles_of([panel]), 1)
    title = f"What contaminated items score above clean ones, series {name}"
    note = f"Over {axis or 'pre-training steps'}; bands and brackets: {OF_DIFFERENCE}"
    style.save(figure, folder, f"gaps-{file}", title, note)


def find(run: Run) -> style.Inputs:
    """contrasts/contamination.json, and leakage.json, which tells of which sets nothing was searched for."""
    path = run.folder("contrast") / "contamination.json"
    if not path.is_file():
        raise BadInput(f"{path} not found: run {stage_of('contrast').script} first")
    rates = run.folder("leakage") / "leakage.json"
    return {"contamination": path, **({"leakage": rates} if rates.is_file() else {}), **style.find_axes(run)}


def draw(inputs: style.Inputs, folder: Path) -> None:
    """Two figures a series; models beside them have no steps, and stand in contrasts/contrasts.md."""
    axes, found = style.read_axes(inputs), list(split(read_json(inputs["contamination"])["rows"]))
    if not found:
        print("nothing to draw: of no series are clean and contaminated items known", flush=True)
    unsearched = tell_unsearched(read_json(inputs["leakage"])["rows"]) if "leakage" in inputs else ""
    if unsearched:
        print(unsearched, flush=True)
    for series, by, way, mine in found:
        draw_parts(f"{series}{by}", f"{series}{way}", mine, axes.get(series), unsearched, folder)
        draw_gaps(f"{series}{by}", f"{series}{way}", mine, axes.get(series), folder)


def main() -> None:
    style.run("plot_contamination", __doc__, find, draw)


if __name__ == "__main__":
    run_script(main)
