"""Figures of forgetting, leakage, contamination and speed: pytest tests/test_ledger_plots.py"""

import pytest
from conftest import refused, run_main, write_recipe

from plot import contamination, forgetting, leakage, style, throughput
from snakmodel.records import write_json, write_jsonl

PLOTS = {"forgetting": forgetting, "leakage": leakage, "contamination": contamination, "throughput": throughput}
SERIES = "hub:org/name@main"


def around(value, width):
    ends = (None, None) if value is None else (value - width, value + width)
    return {"value": value, "low": ends[0], "high": ends[1]}


def changed(step, language, change, start=2.0, series=SERIES):
    """Both rows of forgetting.json; change None: no number."""
    what = {"series": series, "step": step, "tokens": None, "against": f"{series} 0", "language": language}
    what |= {"source": None, "documents": 9, "bytes": 90, "unit": "bits per byte"}
    values = {"bits_per_byte": None if change is None else start + change, "change": change}
    return [{**what, "measure": name, **around(value, 0.5)} for name, value in values.items()]


def rate(testset, measure, count, corpus="deduplicate"):
    ends = {"value": count / 10, "low": max(count - 1, 0) / 10, "high": min(count + 1, 10) / 10}
    return {"corpus": corpus, "testset": testset, "measure": measure, "unit": "items", "count": count, "of": 10, **ends}


def probed(step, measure, value, probe="second_half", testset="news"):
    what = {"series": SERIES, "step": step, "tokens": 0, "testset": testset, "probe": probe, "unit": "ratio"}
    return {**what, "measure": measure, "items": 5} | around(value, 0.1)


def contrasted(step, clean, contaminated, dataset="angry-tweets", items=20):
    what = {"series": "pretrained", "step": step, "dataset": dataset, "clean": clean, "contaminated": contaminated}
    what |= {"clean_items": items, "contaminated_items": 0 if contaminated is None else 5, "unsearched_items": 0}
    gap = around(None if None in (clean, contaminated) else contaminated - clean, 2)
    return {**what, "difference": gap["value"], "low": gap["low"], "high": gap["high"]}


@pytest.fixture
def drawn(tmp_path):
    """Writes a file of the run, draws by one script, and returns what its figures say by their names."""
    recipe = write_recipe(tmp_path / "recipe.yaml", **{f"plot_{name}": {} for name in PLOTS})

    def draw(name, files):
        for path, content in files.items():
            (write_jsonl if path.endswith("jsonl") else write_json)(tmp_path / "run" / path, content)
        said = run_main(PLOTS[name], recipe)
        folder = tmp_path / "run/figures" / name
        assert len(list(folder.glob("*.png"))) == len(list(folder.glob("*.csv"))) == len(list(folder.glob("*.txt")))
        return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.txt")} | {"said": said}

    return draw


def test_forgetting_stands_over_the_steps_and_as_loss_against_gain(drawn):
    rows = [
        changed(step, language, slope * step + 0.0)
        for step in (0, 10)
        for language, slope in (("da", -0.1), ("en", 0.2))
    ]
    found = drawn("forgetting", {"analysis/forgetting.json": {"rows": sum(rows, [])}})
    steps, trade = found["steps-hub-org-name-main"], found["trade-hub-org-name-main"]
    assert "Change (below 0: gained)\nDanish: 0: 0 [-0.5, 0.5]; 10: -1 [-1.5, -0.5]\nEnglish: 0: 0" in steps
    assert "change since the first step" in steps
    assert "English: 0: 0 [-0.5, 0.5]; 1: 2 [1.5, 2.5]" in trade and "lost against what Danish gains" in trade


@pytest.mark.parametrize("gain", [-1.0, -1e-7])
def test_the_first_and_the_last_step_are_named_once_beside_each_other_however_little_was_gained(
    gain, drawn, monkeypatch
):
    slopes = {"da": gain, "en": 0.2, "de": 0.1, "sv": 0.0, "nb": 0.15}
    rows = [row for step in (0, 5, 12_500) for at, slope in slopes.items() for row in changed(step, at, slope * step)]
    kept, write = {}, style.save
    monkeypatch.setattr(style, "save", lambda figure, *words: (kept.update({words[1]: figure}), write(figure, *words)))
    drawn("forgetting", {"analysis/forgetting.json": {"rows": rows}})
    figure = kept[f"trade-{SERIES}"]
    texts = figure.axes[0].texts
    first, last = (text.get_window_extent() for text in texts)
    assert [text.get_text() for text in texts] == ["step 0", "step 12,500"]
    assert first.x1 < last.x0 and last.x1 <= figure.bbox.x1 and min(first.y0, last.y0) >= figure.axes[0].bbox.y1


def test_without_a_second_language_or_a_gain_there_is_no_loss_against_gain_and_that_is_said(drawn):
    rows = changed(7, "da", -1.0) + changed(7, "da", 3.0, series="worse") + changed(7, "en", 4.0, series="worse")
    found = drawn("forgetting", {"analysis/forgetting.json": {"rows": rows}})  # one checkpoint
    assert found.keys() == {"steps-hub-org-name-main", "steps-worse", "said"}
    assert f"{SERIES}: gain against loss not drawn: it needs two languages" in found["said"]
    assert "worse: gain against loss not drawn: no language has gained" in found["said"]


def test_two_hundred_steps_and_values_that_are_no_numbers_are_drawn(drawn):
    rows = [
        changed(t, language, None if t in (3, 199) else slope * t)
        for t in range(200)
        for language, slope in (("da", -0.01), ("en", 0.01))
    ]
    found = drawn("forgetting", {"analysis/forgetting.json": {"rows": sum(rows, [])}})
    assert "199: not known" in found["steps-hub-org-name-main"] and "step 198" in found["trade-hub-org-name-main"]


def test_rates_and_probes_are_drawn_with_their_intervals_whichever_is_there(drawn):
    rates = [rate("news", "found", 5), rate("news", "held", 2), rate("tests", "found", 0, "instructions")]
    probes = [probed(t, m, v) for t in (0, 10) for m, v in (("rouge_l", t / 20), ("rouge_l_control", t / 40))]
    probes += [probed(10, "auc", 0.9, "membership"), probed(10, "unheard_of", 1.0)]
    found = drawn("leakage", {"analysis/probes.json": {"rows": probes}})
    assert "rates not drawn: analyze/leakage.py has not run" in found["said"] and "rates" not in found
    text = found["probes-hub-org-name-main"]
    assert "Second half (ROUGE-L)\nnews: 0: 0 [-0.1, 0.1]; 10: 0.5 [0.4, 0.6]\nnews, control: 0: 0" in text
    assert "AUC against held-out text\nnews: 10: 0.9" in text
    leaked = {"analysis/leakage/leakage.json": {"rows": rates}, "analysis/leakage/run.json": {}}
    found = drawn("leakage", leaked)
    assert (
        "in deduplicate\nfound: an n-gram: news 50 [40, 60]; tests not known\nheld: most of its words: news 20"
        in found["rates"]
    )
    assert "in instructions\nfound: an n-gram: news not known; tests 0 [0, 10]" in found["rates"]
    long = "a-test-set-of-ones-own_whose-name-is/too_long-to-stand-in-one-line"
    leaked = {"analysis/leakage/leakage.json": {"rows": [rate(long, "found", 3)]}}
    found = drawn("leakage", leaked | {"analysis/leakage/run.json": {"counts": 1}})
    assert f"in deduplicate\nfound: an n-gram: {long} 30 [20, 40]" in found["rates"]


def test_clean_and_contaminated_items_stand_apart_and_a_part_without_items_is_told(drawn):
    rows = [contrasted(step, 10.0 + step, 12.0 + 2 * step, items=20 + step) for step in (0, 5)]
    rows += [contrasted(step, 1.0, None, "own/set@v1") for step in (0, 5)] + [contrasted(None, 50.0, 60.0)]
    found = drawn("contamination", {"contrasts/contamination.json": {"rows": rows}})
    parts = found["parts-pretrained"]
    assert "\nangry-tweets: 20 to 25 clean, 5 contaminated items\nclean: 0: 10; 5: 15\n" in parts
    assert "contaminated: 0: 12 [10, 14]; 5: 22 [20, 24]\n" in parts  # the difference's interval, above the clean score
    assert "; band: 95% interval of the difference, over items, laid on the clean items' score; where it" in parts
    assert "\nown/set@v1: 20 clean, 0 contaminated items\nclean: 0: 1; 5: 1\n" in parts
    gaps = found["gaps-pretrained"]
    assert "\nangry-tweets: 0: 2 [0, 4]; 5: 7 [5, 9]\n" in gaps
    assert "brackets: 95% interval of the difference, over items\n" in gaps
    found = drawn("contamination", {"contrasts/contamination.json": {"rows": rows[2:4]}})
    assert "difference not drawn: no data set has both" in found["said"] and "gaps-pretrained" not in found
    assert "nothing to draw" in drawn("contamination", {"contrasts/contamination.json": {"rows": []}})["said"]


def test_items_and_sets_that_were_not_searched_for_are_told(drawn):
    rows = [contrasted(step, 10.0, None, items=7) | {"unsearched_items": 11 + step} for step in (0, 5)]
    rates = [rate("angry-tweets", "found", 0), rate("short", "found", 0) | {"of": 0}, rate("short", "sampled", 0)]
    files = {"contrasts/contamination.json": {"rows": rows}, "analysis/leakage/leakage.json": {"rows": rates}}
    found = drawn("contamination", files)
    assert "\nangry-tweets: 7 clean, 0 contaminated items, 11 to 16 not searched for\n" in found["parts-pretrained"]
    assert "; not drawn, no item was searched for: short\n" in found["parts-pretrained"]
    assert "\nnot drawn, no item was searched for: short\n" in f"\n{found['said']}"
    files["analysis/leakage/leakage.json"] = {"rows": [*rates, rate("short", "found", 0, "instructions")]}
    found = drawn("contamination", files)
    assert "no item" not in found["parts-pretrained"] + found["said"], "one corpus was searched for it"


def test_speed_is_drawn_from_the_log_by_means_and_an_untimed_log_is_refused(drawn, tmp_path):
    log = [{"step": 0, "tokens": 0}] + [{"step": t, "tokens": t, "seconds": t / 100, "mfu": 0.5} for t in range(1, 481)]
    files = {"checkpoints/started.json": {"settings": {}}, "checkpoints/run.json": {}}
    found = drawn("throughput", files | {"checkpoints/log.jsonl": log})["throughput"]
    assert "each point is the mean of 2 steps" in found and "480: 4.795 [4.79, 4.8]" in found
    assert "Model FLOPs utilisation" in found and "Waited for data" not in found
    write_json(tmp_path / "run/checkpoints/run.json", {"again": True})
    write_jsonl(tmp_path / "run/checkpoints/log.jsonl", log[:1])
    assert "holds no step with its time" in refused("plot/throughput.py", "--config", tmp_path / "recipe.yaml")


@pytest.mark.parametrize("name, wanted", [("forgetting", "analyze/forgetting.py"), ("leakage", "analyze/leakage.py")])
def test_a_missing_file_is_named_with_its_cure(tmp_path, name, wanted):
    recipe = write_recipe(tmp_path / "recipe.yaml", **{f"plot_{name}": {}})
    assert f"not found: run {wanted}" in refused(f"plot/{name}.py", "--config", recipe)
    assert not (tmp_path / "run").exists()
