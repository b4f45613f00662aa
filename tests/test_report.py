"""The report as a page: its curves, its policy, and what a real browser makes of it: pytest tests/test_report.py

The tests in a browser need Chromium (Debian: apt-get install chromium); without it they are skipped.
"""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from browser import CHROMIUM, browse
from conftest import run_main, write_recipe

from plot import costs, report
from plot.chart import Chart, lay_out, thin, ticks
from snakmodel.records import write_json

in_a_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")
ATTACK = "</script><script>document.title = 'broken'</script><img src=x onerror=\"document.title = 'broken'\">"
SCORED = {"task": "t", "language": "da", "metric": "mcc", "chance": 0.0, "primary": True, "tokens": None, "model": "m"}


class Reader(HTMLParser):
    """What the page says, element by element."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self.open = [], {"script": [], "style": []}, None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open = tag

    def handle_data(self, text):
        if self.open in self.texts:
            self.texts[self.open].append(text)
            self.open = None


def scored(step, value, name=None, **facts):
    series = "baselines" if name else "pretrained"
    scorer = {"scorer": "euroeval", "scorer_version": "16.0.0", "split": "test", "few_shot": True, "failed": None}
    ends = {"value": value, "low": (value or 0) - 1, "high": (value or 0) + 1, "items": 100}
    return {**SCORED, "series": series, "step": step, "name": name, "dataset": "scala-da", **scorer, **ends, **facts}


@pytest.fixture
def page_of(tmp_path):
    """Writes the report of a run that has such scores, samples and a name; its path."""

    def write(scores, samples=(), folder="run"):
        run = tmp_path / folder
        recipe = write_recipe(tmp_path / "recipe.yaml", report={}, collect={}, samples={})
        write_json(run / "scores/started.json", {"section": "collect"})
        write_json(run / "scores/scores.json", {"rows": scores})
        if samples:
            write_json(run / "analysis/samples/samples.json", {"rows": samples})
        run_main(report, recipe, f"run_dir={run}")
        return run / "report/report.html"

    return write


def test_a_curve_has_its_places_its_words_and_its_json():
    rows = [
        {"step": step, "tokens": 8 * step, "value": v, "low": v - 1, "high": v + 1} for step, v in [(0, 1), (10, 3)]
    ]
    facts = lay_out(Chart("A </script> chart", "Score", {"one": rows}, digits=".1f", ends=(0, 4), levels={"chance": 2}))
    (curve,) = facts["curves"]
    assert curve["line"] == "M0 75L100 25" and curve["band"] == "M0 50L100 0L100 50L0 100Z"
    assert curve["marks"] == [(100, 25), (0, 75)] and facts["levels"] == [(50, 50, "chance")]
    assert facts["words"] == {"one": {0: "1.0 [0.0, 2.0]", 10: "3.0 [2.0, 4.0]"}}
    data = json.loads(facts["data"])
    assert data["at"][1] == {"step": 10, "x": 100, "label": "Step 10, 80 tokens"}
    assert data["curves"] == [{"name": "one", "points": {"0": [75, "1.0 [0.0, 2.0]"], "10": [25, "3.0 [2.0, 4.0]"]}}]


def test_one_step_two_hundred_a_gap_and_nothing_finite_are_all_laid_out():
    lone = lay_out(Chart("", "", {"one": [{"step": 7, "value": 2.0, "low": 1.0, "high": 3.0}]}, ends=(0, 4)))
    assert lone["curves"][0]["bars"] == [(50, 75, 25)] and lone["across"]
    many = lay_out(Chart("", "", {name: [{"step": t, "value": t} for t in range(200)] for name in "ab"}))
    assert len(many["steps"]) == 200 and 20 <= len(many["curves"][0]["marks"]) <= 30
    broken = [{"step": step, "value": value} for step, value in enumerate([1.0, 2.0, float("nan"), None, 3.0])]
    gap = lay_out(Chart("", "", {"one": broken}))
    assert gap["curves"][0]["line"].count("M") == 2 and gap["words"]["one"][2] == "not a number"
    assert "NaN" not in gap["data"]
    assert lay_out(Chart("", "", {"one": broken[2:4]}))["empty"]
    level = lay_out(Chart("", "", {"one": [{"step": t, "value": 0.0} for t in (1, 2)]}))  # no extent of values
    assert level["curves"][0]["line"] == "M0 50L100 50"


def test_a_dense_log_is_drawn_by_means_with_their_range_and_ticks_are_round():
    points, every = thin([{"step": t, "tokens": t, "loss": float(t)} for t in range(1, 1001)], "loss", most=100)
    assert every == 10 and points[0] == {"step": 10, "tokens": 10, "value": 5.5, "low": 1.0, "high": 10.0}
    assert points[-1]["step"] == 1000
    assert ticks(0, 320, 6) == [0, 100, 200, 300] and ticks(-0.3, 0.25, 5) == pytest.approx([-0.2, 0, 0.2])


def test_costs_stand_beside_the_plan_and_what_was_not_planned_or_measured_stays_empty():
    plan = {"run": {"steps": 100, "tokens": 1000}, "speed": {"tokens per second and device": 5.0, "mfu assumed": 0.4}}
    plan |= {"machine": {"ranks": 2, "device": {"watts": 400}}, "memory": {"allocated": 2**30}, "published": None}
    plan["time"] = {"hours": 1.0, "device hours": 2.0, "kWh": 0.8, "kg CO2eq": None, "kg CO2eq per kWh": None}
    log = [{"step": t, "tokens": 10 * t, "seconds": 36.0, "memory_gib": 1.5} for t in range(101)]
    record = {"ranks": 2, "device": "cuda", "tokens_per_second": 8.0}
    found = costs.compare({**plan, "dry run": None}, record, log)
    rows = {
        row["quantity"]: (row["cells"].get("Planned"), row["cells"].get("Actual"), row["ratio"])
        for row in found["rows"]
    }
    assert rows["Tokens"] == ("1,000", "1,000", "1") and rows["Hours"] == ("1", "1", "1")
    assert rows["Tokens per second and device"] == ("5", "4", "0.8")
    assert rows["Energy at full power, kWh"] == ("0.8", "0.8", "1")
    assert rows["Memory allocated on a device, GiB"] == ("1", "1.5", "1.5")
    assert rows["Share of the peak (MFU)"] == ("40.0%", None, None) and "kg CO2eq" not in rows
    compared = {"tokens per second and device": {"measured": 2.5}, "allocated, GiB": {"measured": None}}
    dry_run = {"ranks": 2, "compared": compared, "corrected": {**plan["time"], "hours": 4.0}}
    found = costs.compare({**plan, "dry run": dry_run}, {}, [])
    assert found["columns"] == ["Planned", "Planned after a dry run"] and not found["run"]
    assert {"quantity": "Hours", "cells": {"Planned": "1", "Planned after a dry run": "4"}, "ratio": None} in found[
        "rows"
    ]
    assert costs.compare(None, {}, []) is None
    under_way = costs.compare(None, {}, log[:51])  # neither planned nor finished
    assert under_way["columns"] == ["Actual"] and under_way["rows"][0]["cells"] == {"Actual": "50"}


def test_only_the_pages_own_script_may_run_and_no_text_breaks_out_of_its_place(page_of):
    scores = [scored(step, 10.0, dataset=ATTACK) for step in (0, 50)] + [scored(50, 20.0)]
    page = page_of(scores, [{"series": ATTACK, "step": 0, "prompt": ATTACK, "text": ATTACK}], "a&b").read_text()
    read = Reader(page)
    data, own = read.texts["script"][:-1], read.texts["script"][-1]
    assert len(data) == 1 and all(json.loads(text) for text in data) and "onerror" in data[0]
    policy = next(facts["content"] for tag, facts in read.elements if "http-equiv" in facts)
    for kind, text in (("script", own), ("style", read.texts["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not [tag for tag, _ in read.elements if tag == "img"]
    for _, facts in read.elements:
        assert not [name for name in facts if name.startswith("on") or name == "style"]  # which the policy forbids
        assert all(facts.get(name, "#").startswith(("#", "data:")) for name in ("src", "href"))


def test_scorers_versions_and_splits_are_never_one_curve_and_baselines_stand_beside_theirs(page_of):
    scores = [scored(step, step / 10) for step in (0, 50)] + [scored(50, 33.0, scorer="builtin", scorer_version=None)]
    scores += [scored(50, 44.0, split="val"), scored(None, 55.0, name="org/base@main", failed=3)]
    page = page_of(scores).read_text()
    for scorer in ("euroeval 16.0.0, test split", "euroeval 16.0.0, val split", "builtin, test split"):
        assert f"Scores of pretrained by {scorer}" in page and f"Task scores of pretrained, {scorer}" in page
    beside = page.split("Models beside the series, by euroeval 16.0.0, test split")[-1]
    assert page.count("<caption>Models beside the series") == 1
    assert re.search(r"org/base@main</th>\s*<td class=\"number\">55.0 \[54.0, 56.0\], 3 failed</td>", beside)


def test_pairs_of_two_splits_are_told_apart(page_of, tmp_path):
    row = {"one": "pretrained@0", "other": "pretrained@50", "dataset": "news", "items": 9, "one_value": 40.0}
    row |= {"other_value": 50.0, "difference": 10.0, "low": 5.0, "high": 15.0, "share_above_0": 1.0}
    write_json(tmp_path / "run/contrasts/paired.json", {"rows": [row | {"split": split} for split in ("test", "val")]})
    table = page_of([scored(0, 10.0)]).read_text().split("on the same items: mean")[-1]
    assert re.findall("<td>(news[^<]*)</td>", table) == ["news", "news (val)"]


def test_a_curve_without_any_number_is_told_and_the_others_are_drawn(page_of):
    page = page_of(
        [scored(0, 10.0), scored(50, 20.0), scored(0, None, dataset="dansk", low=None, high=None)]
    ).read_text()
    assert "Named entities (NER, MCC): no values" in page and page.count('<path class="line"') == 1


def test_scores_that_are_missing_or_no_number_are_told(page_of):
    rows = [scored(0, 10.0), scored(50, 20.0), scored(0, 5.0, dataset="dansk")]
    rows[1] |= {"value": None, "low": None, "high": None}
    page = page_of(rows).read_text()
    assert '<td class="number">not a number</td><td class="number">–</td>' in page
    assert "Not run: evaluate/collect.py" not in page


def test_published_numbers_stand_beside_the_runs_and_unknown_ones_are_not_run(page_of, tmp_path):
    sheet = tmp_path / "run/replication/replication.csv"
    sheet.parent.mkdir(parents=True)
    sheet.write_text(
        "group,quantity,paper,ours,difference,tolerance,status,known\n"
        "Cost,hours,10,11,1,0.5,outside,printed\nCost,words,5,5,0,0.5,within,printed\n"
        "Table,cell,3,,,0.1,not run,digitised\n"
    )
    page = page_of([scored(0, 10.0)]).read_text()
    assert (
        "Of 3 published numbers 1 agree with this run's within tolerance and our interval,\n1 lie further away" in page
    )
    assert "0 cannot be judged" in page and "1 are not run." in page
    assert "Cost: 2 of 2 run" in page and "Table: 0 of 1 run" in page
    assert re.search(r">cell</th><td class=\"number\">3</td>\s*<td class=\"number\">–</td>", page)


def test_sets_of_which_nothing_was_searched_for_are_told(page_of, tmp_path):
    row = {"series": "pretrained", "step": 50, "tokens": 0, "dataset": "x", "clean": 40.0, "clean_items": 9}
    row |= {"contaminated": None, "contaminated_items": 0, "unsearched_items": 4}
    row |= {"difference": None, "low": None, "high": None}
    write_json(tmp_path / "run/contrasts/contamination.json", {"rows": [row]})
    rate = {"corpus": "raw", "testset": "My-Letters", "measure": "found", "of": 0, "count": 0, "value": None}
    write_json(tmp_path / "run/analysis/leakage/leakage.json", {"rows": [rate]})
    page = page_of([scored(50, 10.0)]).read_text()
    assert "<p>Not drawn, no item was searched for: My-Letters.</p>" in page
    assert "9 clean, 0 contaminated items, 4 not searched for; " in page


def test_what_is_on_its_way_to_be_removed_is_no_part_of_the_page(page_of, tmp_path):
    for name in ("builtin/pretrained/step-00000/dansk", "builtin/pretrained/step-00000/.dansk.host.7.tmp"):
        write_json(tmp_path / f"run/records/{name}/started.json", {"section": "builtin"})
    page = page_of([scored(0, 10.0)]).read_text()
    assert "records/builtin/pretrained/step-00000/dansk" in page and ".tmp" not in page


def place(page, number, of=".plot"):
    """Where the n-th chart's plot is in the window, once it has been scrolled there: left, top, width, height."""
    found = f"document.querySelectorAll('figure.chart')[{number}].querySelector('{of}')"
    page.evaluate(f"{found}.scrollIntoView({{block: 'center'}})")
    return page.evaluate(
        f"(() => {{ const b = {found}.getBoundingClientRect(); return [b.x, b.y, b.width, b.height] }})()"
    )


@in_a_browser
def test_the_miniatures_report_loads_without_a_fault_or_a_request_and_its_curves_answer(tiny_run, tmp_path):
    path = tiny_run.parent / "run/report/report.html"
    with browse(tmp_path) as page:
        page.open(path)
        charts = page.evaluate("document.querySelectorAll('figure.chart').length")
        assert charts >= 10 and page.evaluate("document.querySelectorAll('.plot[role=slider]').length") == charts
        assert page.evaluate("[...document.querySelectorAll('path.line[d*=L]')].every(l => l.getBBox().width > 0)")
        page.evaluate(
            "var names = [...document.querySelectorAll('figure.chart .name')].map(name => name.textContent);"
            "var number = names.indexOf('Task scores of pretrained');"
            "var figure = document.querySelectorAll('figure.chart')[number];"
            "var tip = figure.querySelector('.tip'), plot = figure.querySelector('.plot')"
        )
        left, top, width, height = place(page, page.evaluate("number"))
        page.point(left + 0.5 * width + 3, top + height / 2)
        shown = page.evaluate("tip.innerText")
        assert shown.startswith("Step 8, 4,096 tokens") and re.search(r"Knowledge .*: [\d.]+ \[[\d.]+, [\d.]+\]", shown)
        page.point(2, 2)
        assert page.evaluate("tip.hidden")
        page.evaluate("plot.focus()")
        page.press("Home")
        page.press("ArrowRight")
        assert page.evaluate("tip.innerText").startswith("Step 2, 1,024 tokens")
        assert page.evaluate("plot.ariaValueText").startswith("Step 2, 1,024 tokens; Linguistic acceptability")
        page.evaluate("figure.querySelector('.legend button').click()")  # hides the first curve
        assert "Linguistic" not in page.evaluate("tip.innerText + plot.ariaValueText")
        assert page.evaluate("figure.querySelectorAll('g.hidden').length") == 2
        assert page.faults() == [] and page.requests() == [path.as_uri()]


@in_a_browser
def test_without_scripts_curves_and_tables_are_read_all_the_same(tiny_run, tmp_path):
    with browse(tmp_path, width=400) as page:
        page.ask("Emulation.setScriptExecutionDisabled", value=True)
        page.open(tiny_run.parent / "run/report/report.html")
        assert page.evaluate("document.querySelectorAll('.plot[role=slider], .legend button').length") == 0
        assert page.evaluate("[...document.querySelectorAll('path.line[d*=L]')].every(l => l.getBBox().width > 0)")
        assert page.evaluate("document.querySelectorAll('figure.chart table tbody tr').length") > 50
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # only wide tables scroll
        assert page.faults() == []


@in_a_browser
def test_what_a_model_has_written_is_never_run(page_of, tmp_path):
    scores = [scored(step, 10.0, dataset=ATTACK) for step in (0, 50)] + [scored(50, 20.0)]
    path = page_of(scores, [{"series": ATTACK, "step": 0, "prompt": ATTACK, "text": ATTACK}])
    with browse(tmp_path / "browser") as page:
        page.open(path)
        left, top, width, height = place(page, 0)
        page.point(left + width / 2, top + height / 2)
        assert "onerror" in page.evaluate("document.querySelector('.tip').innerText")
        assert page.evaluate("document.title") == "Report of the run run"
        assert page.faults() == [] and page.requests() == [path.as_uri()]
