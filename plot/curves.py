"""The curves that the report shows, from the files of the stages: charts by the section of the page."""

from math import log
from typing import Any

from plot import contamination, divergence, forgetting, leakage, scores, style, throughput
from plot.chart import Chart, thin
from plot.extents import BITS, GAIN, MAGNITUDE, NATS, POINTS, SHARE

Row = dict[str, Any]
Looks = dict[Any, tuple[int, bool]]
MOST_LETTERS = 16  # of a task's name at the edge of a chart
OVER_DOCUMENTS, OVER_ITEMS = "band: 95% interval over documents", "band: 95% interval over items"


def training_charts(log: list[Row]) -> list[Chart]:
    """Loss, held-out text by language, and learning rate."""
    loss, every = thin([row for row in log if row["step"]], "loss")
    dense = f"each point is the mean of {every:,} steps, band: their range" if every > 1 else ""
    charts = [Chart("Loss", "Nats per token", {"loss": loss}, dense, measure=NATS)] if loss else []
    by_language: dict[str, list[Row]] = {}
    for row in log:
        for language, value in row.get("bits_per_byte", {}).items():
            name = style.LANGUAGES.get(language, language)
            by_language.setdefault(name, []).append({"step": row["step"], "tokens": row["tokens"], "value": value})
    if by_language:
        note = "as training saw it, lower is better"
        charts.append(Chart("Held-out text while training", "Bits per byte", by_language, note, ".3f", BITS, (0, None)))
    rate, _ = thin([row for row in log if row["step"]], "learning_rate")
    rate = [{**row, "low": row["value"], "high": row["value"]} for row in rate]
    return charts + (
        [Chart("Learning rate", "Rate", {"learning rate": rate}, digits=".3g", ends=(0, None))] if rate else []
    )


def throughput_charts(log: list[Row]) -> list[Chart]:
    """What the log tells of speed and memory."""
    charts = []
    for measure, (points, every) in throughput.curves(log).items():
        name, unit = throughput.MEASURES[measure]
        note = f"each point is the mean of {every:,} steps, band: their range" if every > 1 else ""
        charts.append(Chart(name, unit, {name: points}, note, measure=throughput.EXTENTS[measure], ends=(0, None)))
    return charts


def score_charts(series: str, by: str, rows: list[Row], looks: Looks) -> list[Chart]:
    """Task scores, and bits per byte, of one series by one scorer; looks: as scores.looks_of gives them."""
    name = f"{series}, {by}" if by else series
    tasks = [row for row in rows if row["metric"] != style.HELD_OUT]
    texts = [row for row in rows if row["metric"] == style.HELD_OUT]
    charts = []
    interval = f"band: {scores.tell_interval(scores.way_of(rows[0]))}" if rows else ""
    if tasks:
        curves = scores.find_curves(tasks)
        mine = {label: looks[scores.curve_of(found[0])] for label, found in curves.items()}
        chance = {f"chance {level:g}: {in_brief(names)}": level for level, names in scores.chance_levels(tasks).items()}
        limits = {label: style.measure_of(found[0]["metric"]) for label, found in curves.items()}
        ends, facts = scores.ends_of(tasks), {"levels": chance, "series": series, **unpack(mine)}
        title, unit = f"Task scores of {name}", scores.name_axis(ends[0])
        charts.append(Chart(title, unit, curves, interval, ".1f", None, ends, limits, **facts))
    if texts:
        by_language = style.group(texts, "language")
        curves = {style.LANGUAGES.get(language, language): mine for language, mine in by_language.items()}
        note, title = f"lower is better; {interval}", f"Held-out text of {name}"
        charts.append(Chart(title, "Bits per byte", curves, note, ".3f", BITS, (0, None), series=series))
    return charts


def in_brief(names: list[str]) -> str:
    """Names of tasks for the edge of a chart: long ones are counted."""
    short = [name for name in names if len(name) <= MOST_LETTERS]
    return ", ".join(short + [f"{len(names) - len(short)} more"] * (len(short) < len(names)))


def unpack(looks: Looks) -> dict[str, Any]:
    """The looks of curves as a chart takes them."""
    places = {curve: place for curve, (place, _) in looks.items()}
    return {"places": places, "hollow": frozenset(curve for curve, (_, hollow) in looks.items() if hollow)}


def forgetting_charts(rows: list[Row]) -> list[Chart]:
    """Bits per byte and their change, of every series."""
    charts = []
    for series, mine in style.group(rows, "series").items():
        for measure, (name, unit) in forgetting.MEASURES.items():
            since = f"since {forgetting.since(mine)}; " if measure == "change" else ""
            levels = {"no change": 0.0} if measure == "change" else {}
            ends = (None, None) if measure == "change" else (0, None)
            curves, title = forgetting.curves(mine, measure), f"{name}, {series}"
            note, least = f"{since}{OVER_DOCUMENTS}", forgetting.EXTENTS[measure]
            charts.append(Chart(title, unit, curves, note, ".3f", least, ends, levels=levels, series=series))
    return charts


def probe_charts(rows: list[Row]) -> list[Chart]:
    """What every series shows of the test sets; controls are dashed."""
    charts = []
    for series, mine in style.group(rows, "series").items():
        looks = leakage.places_of(mine)
        for (probe, measure), title in leakage.PROBES.items():
            if curves := leakage.probe_curves(mine, probe, measure):
                name, _, unit = title.removesuffix(")").partition(" (")
                levels = {"nothing known": leakage.NEUTRAL[measure]} if measure in leakage.NEUTRAL else {}
                hollow = frozenset(curve for curve, found in curves.items() if curve != found[0]["testset"])
                places = {curve: looks[found[0]["testset"]] for curve, found in curves.items()}
                note = f"dashed: the same texts against another item; {OVER_ITEMS}" if hollow else OVER_ITEMS
                facts: Any = {"levels": levels, "hollow": hollow, "places": places, "series": series}
                facts["measure"] = leakage.EXTENTS.get(measure, SHARE)
                charts.append(Chart(f"{name}, {series}", unit or "Share", curves, note, ".3g", **facts))
    return charts


def contamination_charts(rows: list[Row]) -> list[Chart]:
    """What contaminated items score above clean ones, a chart a series, and both parts, a chart a data set."""
    charts = []
    for series, by, _, mine in contamination.split(rows):
        found = contamination.gaps(mine)
        if found:
            looks = style.looks({name: style.place_of(name) for name in found})
            facts: Any = {"levels": {"no difference": 0.0}, "series": series, "measure": GAIN, **unpack(looks)}
            note = f"band: {contamination.OF_DIFFERENCE}"
            charts.append(Chart(f"Contaminated less clean, {series}{by}", "Points", found, note, ".1f", **facts))
        for name, parts in contamination.curves(mine).items():
            note = f"{contamination.tell_items(parts)}; {contamination.LAID_ON}"
            facts = {"hollow": frozenset(["contaminated"]), "series": series, "measure": POINTS}
            title, unit = f"{name}, {series}{by}", "Mean score of items, 0 to 100"
            charts.append(Chart(title, unit, parts, note, ".1f", **facts))
    return charts


def answer_charts(rows: list[Row]) -> list[Chart]:
    """The share of each answer and its probability, two charts a question and series."""
    charts = []
    for series, mine in style.group(rows, "series").items():
        by_answer = style.group(mine, "answer")
        shares = {name: [{**row, "value": row["share"]} for row in found] for name, found in by_answer.items()}
        powers = {name: [{**row, "value": row["nats"] / log(10)} for row in found] for name, found in by_answer.items()}
        title, note = f"{mine[0]['prompt']} …, {series}", "the first answer is the right one"
        charts.append(Chart(title, "Share among the answers", shares, note, ".3f", SHARE, (0, 1), series=series))
        charts.append(Chart(title, "Probability, logarithm to base 10", powers, note, ".2f", MAGNITUDE, series=series))
    return charts


def divergence_charts(rows: list[Row]) -> list[Chart]:
    """The mean over a type's layers of what the figures show, a chart a comparison and measure."""
    charts = []
    for (series, against), mine in style.group(rows, "pair").items():
        at_last = max(mine, key=lambda row: row["step"])
        what, _ = divergence.told(series, against, at_last["against_step"])
        for measure in divergence.PANELS:
            curves: dict[str, list[Row]] = {}
            hollow, loose, places = set(), [], {}
            of_measure = [row for row in mine if row["measure"] == measure]
            for kind, found in style.group(of_measure, "type").items():
                name = divergence.PARAMETERS[kind] + (" (degenerate)" if found[0]["degenerate"] else "")
                curves[name] = divergence.over_steps(found)
                hollow |= {name} if found[0]["degenerate"] else set()
                loose += [name] if any(row["undetermined"] for row in found) else []
                places[name] = list(divergence.PARAMETERS).index(kind)
            if curves:
                name, _, unit = divergence.MEASURES[measure].removesuffix(")").partition(" (")
                note = "mean over layers, band: one standard deviation"
                note += "; dashed: 0 by construction" if hollow else ""
                note += f"; undetermined at some step: {', '.join(loose)}" if loose else ""
                title = f"{name}: {what[0].lower()}{what[1:]}, {series}"
                looks: Any = {"hollow": frozenset(hollow), "places": places, "series": series}
                charts.append(Chart(title, unit, curves, note, ".4g", divergence.EXTENTS[measure], (0, None), **looks))
    return charts
