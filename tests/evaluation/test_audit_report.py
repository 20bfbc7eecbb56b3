"""Lines of an audit against their bounds, and its page."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from evaluation.audit_lines import (
    GOLD,
    INJECTED,
    LENGTH,
    NULLS,
    POSITION,
    Bound,
    hold,
    not_measured,
    write_bound,
    write_interval,
)
from evaluation.audit_plots import Bin, Cloud
from evaluation.audit_report import AuditReport, Probing, render_audit, write_audit
from evaluation.bootstrap import Interval
from tests.browser import open_browser

ATTACK = "</small><script>document.title='taken'</script><img src=http://example.com/x onerror=alert(1)>"


def _interval(mean, low, high, n_prompts=100):
    return Interval(mean, low, high, n_prompts)


PROBING = Probing(
    recipe="demo", field="judging.annotator", judge="rubric some-model", seed=0, n_prompts=100, n_answers=400,
    n_judged=3600, n_unscored=3, reasons={"timeout": 2, "no_verdict": 1}, tokens_in=1_000_000, tokens_out=20_000,
    seconds=61.5, cost=1.25,
)  # fmt: skip
REPORT = AuditReport(
    probing=PROBING,
    lines=[
        not_measured(POSITION, "consistent in both orders", "share", "it sees one answer at a time"),
        hold(NULLS, "dot", "share", _interval(0.2, 0.15, 0.25), Bound(high=0.05), "“.”"),
        hold(NULLS, "colon", "share", _interval(0.01, 0.0, 0.02), Bound(high=0.05), "“:”"),
        hold(INJECTED, "score_line", "points", _interval(0.03, 0.01, 0.05), Bound(high=0.02)),
        hold(LENGTH, "score by length", "number", _interval(0.1, 0.0, 0.2), Bound(high=0.3)),
        hold(GOLD, "agreement, ties kept", "share", _interval(0.7, 0.65, 0.75), None),
    ],
    lengths=Cloud([-1.0, 0.0, 1.0], [0.5, 0.0, -0.5]),
    repeats=Cloud([-1.0, 0.0, 1.0], [-1.0, 0.1, 0.9]),
    bins=[Bin(0.6, 0.55, 50), Bin(0.9, 0.95, 50)],
    tables={"ties kept": [[10.0, 1.0, 2.0], [0.5, 2.0, 0.5], [2.0, 1.0, 10.0]]},
)


@pytest.mark.parametrize(
    ("interval", "state"),
    [
        ((0.04, 0.0, 0.09), "ok"),
        ((0.06, 0.02, 0.09), "look"),
        ((0.08, 0.06, 0.09), "bad"),
        ((0.04, 0.0, 0.09, 19), "look"),
        ((0.9, 0.8, 1.0, 19), "look"),
    ],
)
def test_a_line_is_bad_only_where_its_whole_interval_is_beyond_the_bound(interval, state):
    assert hold(NULLS, "dot", "share", _interval(*interval), Bound(high=0.05)).state == state


def test_a_lower_bound_and_a_band_are_held_as_well():
    band = Bound(0.45, 0.55)
    states = [
        hold(POSITION, "first", "share", _interval(mean, mean - 0.02, mean + 0.02), band).state
        for mean in (0.4, 0.5, 0.56, 0.6)
    ]
    assert states == ["bad", "ok", "look", "bad"]
    assert hold(GOLD, "kappa", "number", _interval(0.2, 0.1, 0.3), Bound(low=0.4)).state == "bad"


def test_too_few_prompts_are_named_as_the_reason():
    line = hold(NULLS, "dot", "share", _interval(0.0, 0.0, 0.0, 5), Bound(high=0.05), "“.”")
    assert line.why == "“.”; only 5 prompts: too few to tell"


def test_without_a_bound_or_a_figure_there_is_no_verdict():
    assert hold(GOLD, "kept", "share", _interval(0.5, 0.4, 0.6), None).state == "info"
    assert hold(GOLD, "kept", "share", None, Bound(high=1)).state == "n/a"


def test_figures_and_bounds_are_written_in_their_unit():
    lines = REPORT.lines
    assert write_interval(lines[1]) == "20.0\u00a0% [15.0, 25.0]"
    assert write_bound(lines[1]) == "≤\u00a05\u00a0%"
    assert write_interval(lines[3]) == "+3.0\u00a0points [+1.0, +5.0]"
    assert write_bound(lines[3]) == "≤\u00a0+2\u00a0points"
    assert write_interval(lines[0]) == write_bound(lines[0]) == "–"


def test_the_verdict_names_the_sections_that_are_beyond_their_bounds():
    assert REPORT.verdict == "This judge is beyond its bounds in 1 of 4 lines (null answers), 1 more want a look."
    sound = replace(REPORT, lines=[REPORT.lines[2], REPORT.lines[4]])
    assert sound.verdict == "All 2 lines that could be held against a bound are within it."
    assert replace(REPORT, lines=REPORT.lines[3:]).verdict == "No line is clearly beyond its bound; 1 of 2 want a look."


def test_json_holds_every_line_and_is_valid():
    whole = json.loads(json.dumps(REPORT.to_json(), allow_nan=False))
    assert [line["name"] for line in whole["lines"]] == [line.name for line in REPORT.lines]
    assert whole["counts"] == {"ok": 2, "look": 1, "bad": 1, "info": 1, "n/a": 1}
    assert whole["probing"]["reasons"] == {"timeout": 2, "no_verdict": 1}
    assert "lengths" not in whole


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)


def _tags(page):
    parser = _Tags()
    parser.feed(page)
    return parser.tags


def test_page_shows_every_line_what_it_took_and_what_to_do():
    page = render_audit(REPORT)
    for text in (
        "consistent in both orders",
        "it sees one answer at a time",
        "20.0\u00a0% [15.0, 25.0]",
        "✕ bad",
        "▲ look",
    ):
        assert text in page
    assert "timeout 2, no_verdict 1" in page
    assert "1,000,000 tokens read, 20,000 written; cost 1.2500" in page
    assert "What to do" in page
    assert "Answers without content beat real ones" in page
    assert "Too many answers stay unscored" not in page


def test_page_draws_what_was_measured_and_nothing_else():
    titles = (
        "Null answers",
        "Injected verdicts",
        "Score by length",
        "Scored twice",
        "Calibration",
        "Agreement with gold",
    )
    page = render_audit(REPORT)
    assert [f"<h3>{title}</h3>" in page for title in titles] == [True] * 6
    bare = replace(REPORT, lines=REPORT.lines[:1], lengths=Cloud([], []), repeats=Cloud([], []), bins=[], tables={})
    assert "<svg" not in render_audit(bare)
    assert "What to do" not in render_audit(bare)


def test_markup_in_texts_is_shown_not_run():
    line = hold(NULLS, ATTACK, "share", _interval(0.2, 0.1, 0.3), Bound(high=0.05), ATTACK)
    page = render_audit(replace(REPORT, probing=replace(PROBING, judge=ATTACK, recipe=ATTACK), lines=[line]))
    assert not {"script", "img"} & set(_tags(page))
    assert "&lt;script&gt;document.title" in page


def test_the_same_report_gives_the_same_page():
    assert render_audit(REPORT) == render_audit(REPORT)


def test_page_is_written_whole_and_leaves_no_partial_file(tmp_path):
    write_audit(REPORT, tmp_path / "audit.html")
    assert [path.name for path in tmp_path.iterdir()] == ["audit.html"]
    assert (tmp_path / "audit.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 400])
def test_nothing_is_wider_than_the_window(tmp_path, width):
    long = "a_name_without_any_place_to_break_" * 4
    lines = [*REPORT.lines, hold(NULLS, long, "share", _interval(0.2, 0.1, 0.3), Bound(high=0.05), long)]
    write_audit(replace(REPORT, probing=replace(PROBING, judge=long), lines=lines), tmp_path / "audit.html")
    with open_browser(width) as page:
        page.open((tmp_path / "audit.html").as_uri())
        page.wait_for_text("Every line")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = (
            "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth).length"
        )
        assert page.evaluate(wide) == 0
