"""Looks, names, axes and intervals of figures and of the report: pytest tests/test_axes.py"""

import re

import pytest
from conftest import run_main, write_recipe
from test_figures import LONG, read_folder, save_scores, score, values

from plot import compare, contamination, leakage, report, scores, style
from plot.chart import Chart, lay_out, value_range
from plot.extents import BITS, DEGREES, MCC, POINTS, widen
from snakmodel.intervals import INTERVALS
from snakmodel.records import write_json

NAMES = ("my-own-test-set-of-customer-letters-with-a-name-of-60-letters", "ARCHIVE_OF_QUESTIONS_" * 3, "X" * 60)
SCRIPTS = {"plot_scores": scores, "plot_compare": compare, "plot_contamination": contamination, "plot_leakage": leakage}
OWN, OTHERS = "burger-spørgsmål", ("arkiv", "æbler", "zoo")


@pytest.fixture
def figures(tmp_path, monkeypatch):
    """Draws by one script what is planted: matplotlib's figures by their files' names, and what was printed."""
    recipe = write_recipe(tmp_path / "recipe.yaml", **{section: {} for section in SCRIPTS})
    write = style.save

    def draw(section, *overrides):
        found = {}

        def keep(figure, folder, name, *words):
            found[style.file_name(name)] = figure
            write(figure, folder, name, *words)

        monkeypatch.setattr(style, "save", keep)
        found["said"] = run_main(SCRIPTS[section], recipe, *overrides)
        return found

    return draw


def builtin(step, dataset, value, metric="accuracy", **facts):
    facts = {"scorer": "builtin", "scorer_version": "3 float32", "chance": None, "task": "knowledge"} | facts
    return score(step, dataset, value, metric=metric, **facts)


def look_of(figure, name):
    """Colour and marker of the curve whose label holds this name."""
    (line,) = [line for axes in figure.axes for line in axes.get_lines() if name in line.get_label()]
    return line.get_color(), line.get_marker()


def contrasted(step, dataset):
    what = {"series": "pretrained", "step": step, "tokens": 0, "name": None, "dataset": dataset, "clean": 40.0}
    what |= {"clean_items": 9, "contaminated": 50.0, "contaminated_items": 3, "unsearched_items": 0}
    return what | {"difference": 10.0, "low": 4.0, "high": 16.0}


def test_a_set_of_ones_own_looks_the_same_in_every_figure_and_when_others_are_added(figures, tmp_path):
    seen = []
    for sets in ([OWN], [*OTHERS, OWN, "scala-da"]):
        rows = [builtin(step, name, 40.0) for step in (0, 50) for name in sets]
        save_scores(tmp_path / "run", rows)
        write_json(
            tmp_path / "run/contrasts/contamination.json", {"rows": [contrasted(s, n) for s in (0, 50) for n in sets]}
        )
        probed = {"series": "pretrained", "tokens": 0, "probe": "second_half", "measure": "exact", "unit": "share"}
        probed |= {"items": 5, "value": 0.1, "low": 0.0, "high": 0.2}
        rows = [probed | {"step": step, "testset": name} for step in (0, 50) for name in sets]
        write_json(tmp_path / "run/analysis/probes.json", {"rows": rows})
        seen.append(look_of(figures("plot_scores")["tasks-pretrained"], OWN))
        seen.append(look_of(figures("plot_contamination")["gaps-pretrained"], OWN))
        seen.append(look_of(figures("plot_leakage")["probes-pretrained"], OWN))
        run_main(report, write_recipe(tmp_path / "report.yaml", report={}), f"run_dir={tmp_path}/run")
        page = (tmp_path / "run/report/report.html").read_text("utf-8")
        keys = re.findall(rf'data-colour="c(\d)"><svg.*?href="#m(\d)".*?class="text">[^<]*{OWN}', page)
        seen += [(style.COLOURS[int(colour)], style.MARKERS[int(marker)]) for colour, marker in keys]
        assert len(keys) == 3  # scores, probes, contamination
        assert 'id="m7" d="M-4 0' in page and style.MARKERS[7] == "<"  # which points to the left
    assert len(set(seen)) == 1
    paper = [style.look(style.place_of(name)) for name in list(style.TASKS)[:8]]
    assert paper == list(zip(style.COLOURS, style.MARKERS, strict=True))[:8] and seen[0] not in paper


def test_sets_whose_names_give_them_one_look_differ_in_the_figures_and_in_the_report_alike(figures, tmp_path):
    sets = ["my-facts", "my-judged", "my-mood", "my-sum"]  # a newcomer's: all of one marker or colour
    assert len({style.place_of(name) for name in sets}) < len(sets)
    rows = [builtin(step, name, 40.0) for step in (0, 50) for name in sets]
    rows += [builtin(None, name, 30.0, series="baselines", name="other") for name in (*sets, "aaa")]
    save_scores(tmp_path / "run", rows)
    panels = figures("plot_scores")["tasks-pretrained"].axes
    drawn = [[line for line in panel.get_lines() if not line.get_label().startswith("_")] for panel in panels[:2]]
    seen = [{line.get_label(): (line.get_color(), line.get_marker(), line.get_markerfacecolor()) for line in lines}
            for lines in drawn]  # fmt: skip
    assert len(set(seen[0].values())) == len(sets) and seen[0].items() <= seen[1].items()
    run_main(report, write_recipe(tmp_path / "report.yaml", report={}), f"run_dir={tmp_path}/run")
    page = (tmp_path / "run/report/report.html").read_text("utf-8")
    keys = re.findall(
        r'data-colour="c(\d)"><svg.*?href="#m(\d)" x="13" y="6" class="(mark.*?)".*?class="text">([^<]*)<', page
    )
    white = {name: look[-1] == "white" for name, look in seen[0].items()}
    assert {name: (style.COLOURS[int(c)], style.MARKERS[int(m)]) for c, m, _, name in keys} == {
        name: look[:2] for name, look in seen[0].items()}  # fmt: skip
    assert {name: mark == "mark open" for _, _, mark, name in keys} == white


def test_baselines_stand_beside_the_curves_of_held_out_text_too(figures, tmp_path):
    told = {"metric": "bits_per_byte", "few_shot": None}
    rows = [builtin(step, f"held-out-{at}", 2.0, language=at, **told) for step in (0, 50) for at in ("da", "en")]
    beside = builtin(None, "held-out-en", 9.0, language="en", series="baselines", name="org/base", **told)
    save_scores(tmp_path / "run", [*rows, beside])
    curves, baselines = figures("plot_scores")["held-out-pretrained"].axes[:2]
    colours = {line.get_label(): line.get_color() for line in curves.get_lines()}
    assert [(line.get_label(), line.get_color()) for line in baselines.get_lines()] == [("English", colours["English"])]
    text = (tmp_path / "run/figures/scores/held-out-pretrained.txt").read_text("utf-8")
    assert "\nBaselines\nEnglish: org/base 9 [7, 11]\n" in text and "\nDanish: 0: 2 [0, 4]; 50: 2" in text
    save_scores(tmp_path / "run", [beside])
    assert "held-out-baselines" in figures("plot_scores")


def test_points_of_many_sets_stand_about_a_baselines_name_and_within_its_place(figures, tmp_path):
    sets = [f"own-{number}" for number in range(30)]
    rows = [builtin(None, name, 30.0, series="baselines", name=model) for name in sets for model in ("one", "other")]
    save_scores(tmp_path / "run", [builtin(0, "dansk", 50.0), builtin(0, "scala-da", 50.0), *rows])
    panel = figures("plot_scores")["tasks-pretrained"].axes[1]
    places = [line.get_xdata().tolist() for line in panel.get_lines() if "own" in line.get_label()]
    for number, ours in enumerate(zip(*places, strict=True)):
        assert sum(ours) / len(ours) == pytest.approx(number) and max(ours) - min(ours) < 0.8
    assert panel.get_xlim() == (-0.5, 1.5)


def test_levels_of_chance_that_print_alike_are_one_and_no_name_stands_on_another(figures, tmp_path):
    chances = {"one": 33.32, "two": 33.34, "three": 33.5, "four": 34.0, "five": 99.0, "six": 100.0}
    rows = [builtin(step, name, 40.0, chance=chance) for step in (0, 50) for name, chance in chances.items()]
    save_scores(tmp_path / "run", rows)
    figure = figures("plot_scores")["tasks-pretrained"]
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert [text.get_text() for text in figure.axes[0].texts][:2] == ["chance 33.3: one, two", "chance 33.5: three"]
    assert all(low.y1 <= high.y0 for low, high in zip(boxes, boxes[1:], strict=False))
    run_main(report, write_recipe(tmp_path / "report.yaml", report={}), f"run_dir={tmp_path}/run")
    page = (tmp_path / "run/report/report.html").read_text("utf-8")
    labels = re.findall(r'class="over" x="100%" y="([-.\d]+)%" dy="-.3em" text-anchor="end">(chance [^<]+)<', page)
    assert len(labels) == 5 and labels[0][1] == "chance 33.3: one, two"
    places = [float(place) for place, _ in labels]
    assert all(low - high >= 6.9 for low, high in zip(places, places[1:], strict=False)), "15 rem hold 20 such lines"


def test_names_of_sixty_letters_are_broken_never_cut_and_written_whole(figures, tmp_path):
    for run in ("short", "a-run-with-a-name-that-is-too-long-for-two-of-them-to-stand-side-by-side"):
        save_scores(tmp_path / run, [builtin(step, name, 40.0) for step in (0, 50) for name in NAMES])
    runs = f"runs={','.join(str(path) for path in tmp_path.iterdir() if path.is_dir())}"
    figure = figures("plot_compare", runs)["tasks"]
    whole = figure.bbox
    boxes = [panel.title.get_window_extent() for panel in figure.axes]
    boxes += [text.get_window_extent() for text in figure.legends[0].get_texts()]
    assert all(box.x0 >= whole.x0 and box.x1 <= whole.x1 and box.y1 <= whole.y1 and box.y0 >= 0 for box in boxes)
    beside = sorted(boxes[:3], key=lambda box: box.x0)
    assert all(one.x1 < other.x0 for one, other in zip(beside, beside[1:], strict=False))
    assert min(panel.get_window_extent().height for panel in figure.axes) > 0.8 * figure.dpi
    panels = {row["panel"] for row in read_folder(tmp_path / "run/figures/compare")["tasks"]}
    assert panels == {f"Knowledge ({name}, accuracy)" for name in NAMES}


def test_an_axis_shows_no_noise_as_mountains_and_nothing_that_its_measure_cannot_be():
    assert widen(50.0, 50.0, POINTS) == (45, 55) and widen(20.0, 70.0, POINTS) == (20, 70)
    assert widen(50.0, 51.0, POINTS, [8.0, 8.0, 9.0]) == (42.5, 58.5)  # twice the intervals
    assert widen(99.9, 100.0, POINTS) == (90, 100) and widen(-3.0, 4.0, POINTS) == (0, 10)
    assert widen(-0.5, 103.0, POINTS) == (0, 100) and widen(-8.0, 2.0, MCC) == (-8, 2)
    assert widen(0.0, 1e-9, DEGREES) == (0, 0.2) and widen(0.9, 0.901, BITS) == pytest.approx((0.8755, 0.9255))
    assert widen(0.0, 1.0, POINTS, [float("nan"), 0.0]) == (0, 10)


def test_constants_stand_on_a_wide_axis_in_figures_and_in_the_report(figures, tmp_path):
    for run in ("one", "other"):
        rows = [builtin(s, "dansk", 33.0 + s / 1e5, "micro_f1", low=None, high=None) for s in (0, 50)]
        told = {"low": None, "high": None, "language": "da"}
        rows += [builtin(s, "held-out-da", 1.0 + s / 1e6, "bits_per_byte", **told) for s in (0, 50)]
        save_scores(tmp_path / run, rows)
    found = figures("plot_compare", f"runs={tmp_path}/one,{tmp_path}/other")
    for name, least in (("tasks", POINTS.least), ("held-out", BITS.least)):
        low, high = found[name].axes[0].get_ylim()
        assert high - low == pytest.approx(least)
    flat = [{"step": step, "value": 50.0 + step / 1000} for step in (0, 1)]
    low, high = value_range(Chart("", "", {"one": flat}, measure=POINTS))
    assert high - low == pytest.approx(10) and low < 50 < high


def test_no_axis_goes_beyond_its_measure_and_the_numbers_stay_as_they_are(figures, tmp_path):
    rows = [builtin(step, "dansk", 0.5, "micro_f1") for step in (0, 50)]  # from -1.5 to 2.5
    rows += [builtin(step, "danske-talemaader", 99.0) for step in (0, 50)]  # to 101
    save_scores(tmp_path / "run", rows)
    panel = figures("plot_scores")["tasks-pretrained"].axes[0]
    assert panel.get_ylim() == (0, 100) and panel.get_ylabel() == "Score (0 to 100)"
    assert not any(line.get_clip_on() for line in panel.get_lines()), "a mark at 0 is whole"
    drawn = read_folder(tmp_path / "run/figures/scores")["tasks-pretrained"]
    assert {(row["low"], row["high"]) for row in drawn} == {("-1.5", "2.5"), ("97.0", "101.0")}
    save_scores(tmp_path / "run", [*rows, *(builtin(step, "scala-da", -15.0 + step, "mcc") for step in (0, 50))])
    panel = figures("plot_scores")["tasks-pretrained"].axes[0]
    assert panel.get_ylim() == (-20, 100) and panel.get_ylabel() == "Score (0 to 100, MCC from -100)"
    reach = {band.get_label(): seen_from(panel, band) for band in panel.collections}
    assert reach["_Named entities (NER, micro F1)"] == pytest.approx(0)  # although the axis goes further
    assert reach["_Linguistic acceptability (LA, MCC)"] < -20
    curves = {"F1": [{"step": s, "value": 0.5, "low": -1.5, "high": 2.5} for s in (0, 1)]}
    (curve,) = lay_out(Chart("", "", curves, ends=(-20, 80), limits={"F1": POINTS}))["curves"]
    assert curve["band"] == "M0 77.5L100 77.5L100 80L0 80Z"  # 0 stands at 80 percent


def seen_from(panel, band):
    """The least value at which a band is not cut off."""
    outline, transform = band.get_clip_path().get_transformed_path_and_affine()
    corners = transform.transform(outline.vertices)
    return panel.transData.inverted().transform(corners)[:, 1].min()


@pytest.mark.parametrize("scorer, version", [("builtin", "3 float32"), ("scandeval", "13.3.0")])
def test_every_figure_of_scores_says_what_its_intervals_are_of(scorer, version, figures, tmp_path):
    for run in ("run", "other"):
        save_scores(tmp_path / run, [builtin(s, "dansk", 40.0, scorer=scorer, scorer_version=version) for s in (0, 50)])
    figures("plot_scores")
    figures("plot_compare", f"runs={tmp_path}/run,{tmp_path}/other")
    run_main(report, write_recipe(tmp_path / "report.yaml", report={}), f"run_dir={tmp_path}/run")
    texts = [path.read_text("utf-8") for path in tmp_path.glob("run/figures/*/tasks*.txt")]
    texts.append((tmp_path / "run/report/report.html").read_text("utf-8"))
    words = {ours: f"95% interval {told}" for ours, told in INTERVALS.items()}
    ours = scorer == "builtin"
    assert len(texts) == 3 and all(words[ours] in text and words[not ours] not in text for text in texts)
    assert texts[-1].count(words[ours]) == 3  # beneath two tables, and with the curves


def test_a_score_of_one_resample_is_drawn_and_told_without_an_interval(figures, tmp_path):
    alone = {"low": None, "high": None}
    rows = [
        builtin(step, "dansk", 40.0 + step, "micro_f1", **(alone if step == 50 else {})) for step in range(0, 160, 10)
    ]
    rows += [builtin(step, "scala-da", 60.0, **alone) for step in (0, 50)]
    rows += [builtin(step, "hellaswag-da", 30.0, **({} if step == 50 else alone)) for step in (0, 50, 100)]
    rows += [builtin(None, "scala-da", 70.0, series="baselines", name=LONG, **alone), builtin(50, "own", 20.0, **alone)]
    save_scores(tmp_path / "run", rows)
    figure = figures("plot_scores")["tasks-pretrained"]
    bands = [band for band in figure.axes[0].collections if band.get_label() == "_Named entities (NER, micro F1)"]
    assert [len({round(x) for x in band.get_paths()[0].vertices[:, 0]}) for band in bands] == [5, 10]  # none across 50
    drawn = read_folder(tmp_path / "run/figures/scores")["tasks-pretrained"]
    ends = {(row["curve"][:3], row["x"]): (row["low"], row["high"]) for row in drawn}
    assert ends["Lin", "0.0"] == ends["Kno", "50.0"] == ends["Nam", "50.0"] == ("", "") != ends["Nam", "60.0"]
    assert ends["Com", "50.0"] == ("28.0", "32.0") and ends["Com", "100.0"] == ("", "")
    text = (tmp_path / "run/figures/scores/tasks-pretrained.txt").read_text("utf-8")
    assert "(LA, accuracy): 0: 60; 50: 60\n" in text and "hellaswag" not in text
    run_main(report, write_recipe(tmp_path / "report.yaml", report={}), f"run_dir={tmp_path}/run")
    page = (tmp_path / "run/report/report.html").read_text("utf-8")
    assert '<td class="number">90.0</td>' in page and '<td class="number">100.0 [98.0, 102.0]</td>' in page
    curves = {"NER": [row for row in rows if row["dataset"] == "dansk"]}
    (curve,) = lay_out(Chart("", "", curves))["curves"]
    assert curve["band"].count("M") == 2 and curve["line"].count("M") == 1
    (lone,) = lay_out(Chart("", "", {"CSR": [row for row in rows if row["dataset"] == "hellaswag-da"]}))["curves"]
    assert lone["band"] == "" and len(lone["bars"]) == 1


def test_items_scored_in_two_precisions_share_no_curve(figures, tmp_path):
    rows = [contrasted(step, "dansk") | {"scorer": "builtin", "split": "test"} for step in (0, 50, 100)]
    rows = [row | {"scorer_version": "3 bfloat16" if row["step"] else "3 float32"} for row in rows]
    write_json(tmp_path / "run/contrasts/contamination.json", {"rows": rows})
    found = figures("plot_contamination")
    names = {f"{kind}-pretrained-3-{precision}" for kind in ("parts", "gaps") for precision in ("float32", "bfloat16")}
    assert names == found.keys() - {"said"}
    text = (tmp_path / "run/figures/contamination/gaps-pretrained-3-bfloat16.txt").read_text("utf-8")
    assert "above clean ones, series pretrained, builtin 3, bfloat16, test split\n" in text
    assert "dansk: 50: 10 [4, 16]; 100: 10 [4, 16]\n" in text


def test_two_precisions_are_two_figures_whose_names_and_words_read_well(figures, tmp_path):
    versions = ("3 float32", "3 bfloat16")
    save_scores(tmp_path / "run", [builtin(s, "dansk", 40.0, scorer_version=v) for s in (0, 50) for v in versions])
    found = figures("plot_scores")
    assert {"tasks-pretrained-3-float32", "tasks-pretrained-3-bfloat16"} <= found.keys()
    text = (tmp_path / "run/figures/scores/tasks-pretrained-3-bfloat16.txt").read_text("utf-8")
    assert "; scorer: builtin 3, bfloat16, test split, few-shot; dotted: chance\n" in text
    drawn = read_folder(tmp_path / "run/figures/scores")["tasks-pretrained-3-bfloat16"]
    assert values(drawn) == [("0.0", "40.0"), ("50.0", "40.0")]
    run_main(report, write_recipe(tmp_path / "report.yaml", report={}), f"run_dir={tmp_path}/run")
    page = (tmp_path / "run/report/report.html").read_text("utf-8")
    assert "Task scores of pretrained, builtin 3, bfloat16, test split, few-shot<" in page


def test_what_is_compared_is_over_the_axis_that_the_words_name_and_the_legend_says_how_it_was_scored(figures, tmp_path):
    for run, last in (("one", 2), ("other", 4)):
        rows = [builtin(step, "dansk", 40.0, series="swept", few_shot=False) for step in range(last + 1)]
        save_scores(tmp_path / run, [*rows, builtin(50, "dansk", 30.0)])
        write_json(tmp_path / run / "instruct/swept/series.json", {"axis": "epochs", "steps": []})
    runs = f"runs={tmp_path}/one,{tmp_path}/other"
    for over, label, told in (("steps", "Epochs", "epochs"), ("share", "Share of the run (%)", "share of the run (%)")):
        figure = figures("plot_compare", runs, "series=swept", f"over={over}")["tasks"]
        assert figure.axes[0].get_xlabel() == label
        assert figure.legends[0].get_title().get_text() == "builtin 3, float32, test split, zero-shot"
        text = (tmp_path / "run/figures/compare/tasks.txt").read_text("utf-8")
        assert f"\nOver {told}; bands" in text and "pre-training" not in text
    both = "series=pretrained,swept"
    with pytest.raises(ValueError, match="plot_compare: on no one axis: one: swept, other: swept by epochs; one: pre"):
        figures("plot_compare", runs, both)
    found = figures("plot_compare", runs, both, "over=share")
    ends = {line.get_label(): line.get_xdata()[-1] for line in found["tasks-zero-shot"].axes[0].get_lines()}
    assert ends == {"one: swept": 100, "other: swept": 100}  # of what its own series counts
