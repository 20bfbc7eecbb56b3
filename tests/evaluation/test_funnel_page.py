"""The page of a funnel: its figures, its samples, and what hostile or extreme input does to it."""

import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.funnel_page import MAX_BYTES, render_funnel_page, write_funnel_page
from evaluation.funnel_report import (
    EXCERPT_CHARS,
    Excerpt,
    FunnelReport,
    FunnelStepReport,
    SampleRow,
    sample_row,
)
from evaluation.funnel_shift import length_shift, margin_shift
from evaluation.funnel_sources import MOST_SOURCES, Cell, count_sources
from evaluation.funnel_texts import mark_differences, show_hidden
from tests.browser import open_browser

ATTACK = (
    "</pre></details><script>document.title='taken'</script><img src=http://example.com/x onerror=alert(1)>"
    "{{ 7*7 }}{% raw %}\x00\x08\x1b\u202eTXET\u2066\u200b\U000e0041&lt;b&gt;"
)
NBSP = "\u00a0"


def _row(value=0.95, threshold=0.9, prompt="Say hello.", chosen="Hello to you", rejected="Hello to all", pair_id="a"):
    return sample_row((pair_id, "similarity", value, threshold), prompt, chosen, rejected)


def _step(step, n_in, n_dropped, **changed):
    whole = {
        "what": f"Drop pairs by {step}.",
        "reasons": {step: n_dropped} if n_dropped else {},
        "thresholds": {step: 0.9},
        "sources": {"hh": (n_in, n_dropped)},
        "settings": {"max_similarity": 0.9},
        "dropped": [],
        "near_misses": [],
    }
    return FunnelStepReport(step=step, n_in=n_in, n_dropped=n_dropped, **(whole | changed))


def _shifts(seed=0, n=500):
    numbers = np.random.default_rng(seed)
    keep = numbers.random(n) < 0.8
    lengths = length_shift(numbers.integers(50, 400, n), numbers.integers(50, 300, n), keep)
    return {"lengths": lengths, "margins": margin_shift(numbers.gamma(2, 1, n), keep)}


REPORT = FunnelReport(
    title="harmless pairs",
    file="pairs.parquet",
    file_format="HH-RLHF strings",
    n_in=1000,
    n_kept=898,
    steps=[
        _step("identical", 1000, 0, near_misses=[]),
        _step(
            "similarity",
            1000,
            102,
            dropped=[_row()],
            near_misses=[_row(0.89, pair_id="near")],
            sources={"hh": (900, 100), None: (100, 2)},
        ),
    ],
    **_shifts(),
)
EMPTY = FunnelReport("nothing", "empty.jsonl", "TRL standard", 0, 0, [_step("identical", 0, 0, sources={})])


def _extreme():
    """25 filters with long names and full samples, 200 sources, texts of 5 MB."""
    sources = {f"a-source-with-a-name-that-goes-on-and-on_{i}" * 4: (4800 + i, 0) for i in range(198)}
    sources |= {None: (7, 0), "\u202eevil<script>": (9000, 0)}
    n_left = sum(n_in for n_in, _ in sources.values())
    n_in, steps = n_left, []
    huge, other = "word <b>&amp;</b> \u202e " * 250_000, "word <i>&amp;</i> \u202e " * 250_000
    row = _row(1e-9, 1 / 3, huge, huge, other, "pair" * 200)
    for number in range(25):
        dropped = {name: (came, min(came, 1 + came // 500)) for name, (came, _) in sources.items()}
        n_dropped = sum(gone for _, gone in dropped.values())
        name = f"filter_{number}_with_a_very_long_name_that_has_no_place_to_break"
        texts = {"dropped": [row] * 20, "near_misses": [row] * 20, "settings": {"eval_sets": ["/a/path" * 90]}}
        steps.append(_step(name, n_left, n_dropped, sources=dropped, **texts))
        n_left -= n_dropped
        sources = {name: (came - gone, 0) for name, (came, gone) in dropped.items() if came > gone}
    return FunnelReport("long " * 200, "/folder" * 100, "format", n_in, n_left, steps, **_shifts(1))


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "action"):
                self.addresses.add(value or "")


def _tags(page):
    parser = _Tags()
    parser.feed(page)
    return parser


def _attacked():
    row = replace(_row(0.95, 0.9, ATTACK, f"say {ATTACK}", f"do {ATTACK}", ATTACK), reason=ATTACK)
    step = _step(
        ATTACK, 1000, 102, what=ATTACK, thresholds={}, settings={ATTACK: ATTACK}, sources={ATTACK: (1000, 102)},
        dropped=[row], near_misses=[row],
    )  # fmt: skip
    return replace(REPORT, title=ATTACK, file=ATTACK, file_format=ATTACK, steps=[step])


def test_page_tells_what_was_kept_what_dropped_it_and_where_it_came_from():
    page = render_funnel_page(REPORT)
    for text in (
        f"Filtering kept 898 of 1,000 pairs (89.8{NBSP}%).",
        "From pairs.parquet, read as HH-RLHF strings",
        f"102, 10.2{NBSP}% of all pairs",
        "max_similarity = 0.9",
        "<li>similarity 102",
        f"100<small>11.1{NBSP}%</small>",
        "<i>unknown</i>",
    ):
        assert text in page


def test_samples_stand_beside_near_misses_with_value_threshold_and_marked_words():
    page = render_funnel_page(REPORT)
    assert "1 of 102 dropped, 1 near miss<" in page
    assert "0.95 &gt; 0.9" in page
    assert "0.89 &lt; 0.9" in page
    assert page.count("Hello to <mark>you</mark>") == page.count("Hello to <mark>all</mark>") == 2


def test_value_that_rounds_to_its_threshold_is_written_out():
    step = replace(REPORT.steps[1], dropped=[_row(0.900000001)], near_misses=[_row(0.9, None), _row(None, None)])
    page = render_funnel_page(replace(REPORT, steps=[REPORT.steps[0], step]))
    assert "0.900000001 &gt; 0.9" in page


def test_gap_beyond_five_percent_is_pointed_out():
    keep = np.array([True, True])
    long = length_shift(np.array([100, 120]), np.array([100, 100]), keep)
    even = length_shift(np.array([90, 112]), np.array([100, 100]), keep)
    assert "▲ beyond ±5 %" in render_funnel_page(replace(REPORT, lengths=long))
    assert "▲" not in render_funnel_page(replace(REPORT, lengths=even))


def test_length_shift_gives_gap_relative_gap_and_cohens_d():
    shift = length_shift(np.array([10, 20, 600]), np.array([10, 10, 10]), np.array([True, True, False]))
    assert shift is not None
    assert shift.after is not None
    assert (shift.before.gap, shift.before.relative_gap) == (200.0, 20.0)
    assert (shift.after.n, shift.after.gap, shift.after.relative_gap) == (2, 5.0, 0.5)
    # standard deviations are 5 and 0: 5 / sqrt((25 + 0) / 2)
    assert shift.after.cohens_d == pytest.approx(2**0.5)
    assert sum(shift.doublings.before) == 3  # the last ratio, 60, is counted in the outermost bin
    assert shift.doublings.before[-1] == 1


def test_lengths_without_spread_pairs_or_kept_pairs_have_no_figures():
    same = length_shift(np.array([5, 5]), np.array([0, 0]), np.array([False, False]))
    assert same is not None
    assert (same.before.cohens_d, same.before.relative_gap, same.after) == (None, None, None)
    assert length_shift(np.array([], int), np.array([], int), np.array([], bool)) is None


def test_unknown_margins_are_counted_and_left_out():
    shift = margin_shift(np.array([1.0, 3.0, np.nan]), np.array([True, False, True]))
    assert shift is not None
    assert (shift.n_unknown, shift.mean_before, shift.mean_after) == (1, 2.0, 1.0)
    assert (sum(shift.margins.before), sum(shift.margins.after)) == (2, 1)
    assert margin_shift(np.array([np.nan]), np.array([True])) is None


def test_margins_that_are_all_the_same_are_drawn():
    shift = margin_shift(np.array([1.0, 1.0]), np.array([True, False]))
    assert "Margins</h3>" in render_funnel_page(replace(REPORT, margins=shift))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_kept": 899}, "n_kept is 899, but the filters left 898 pairs"),
        ({"n_in": 1001}, "filter identical got 1000 pairs, but 1001 were left before it"),
        ({"steps": [_step("length", 1000, 102, reasons={"too_short": 1})]}, "its reasons count 1"),
    ],
)
def test_steps_that_do_not_add_up_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        replace(REPORT, **changed)


def test_smaller_sources_are_summed_up():
    sources = {f"s{i:03}": (1000 - i, 10) for i in range(200)}
    n_in = sum(came for came, _ in sources.values())
    table = count_sources([_step("length", n_in, 2000, sources=sources), _step("idle", n_in - 2000, 0, sources={})])
    assert table is not None
    assert (table.steps, table.n_idle, len(table.rows)) == (["length"], 1, MOST_SOURCES + 1)
    assert [row.name for row in table.rows[:2]] == ["s000", "s001"]
    rest = table.rows[-1]
    assert (rest.n_summed, rest.cells) == (180, [Cell(rest.n_in, 1800)])
    assert sum(row.n_in for row in table.rows) == n_in
    assert sum(row.n_kept for row in table.rows) == n_in - 2000


def test_source_that_an_earlier_filter_used_up_has_no_cell_later():
    steps = [_step("a", 3, 1, sources={"x": (1, 1), "y": (2, 0)}), _step("b", 2, 1, sources={"y": (2, 1)})]
    table = count_sources(steps)
    assert table is not None
    assert {row.name: row.cells for row in table.rows} == {"y": [Cell(2, 0), Cell(2, 1)], "x": [Cell(1, 1), None]}


def test_step_that_knows_no_sources_is_no_column_and_changes_no_sum():
    table = count_sources([_step("import", 5, 2, sources={}), _step("a", 3, 1, sources={"x": (3, 1)})])
    assert table is not None
    assert (table.steps, table.n_idle) == (["a"], 0)
    assert [(row.n_in, row.n_kept) for row in table.rows] == [(3, 2)]


def test_pairs_without_sources_say_so():
    assert count_sources([_step("a", 3, 1, sources={None: (3, 1)})]) is None
    assert "The pairs name no source." in render_funnel_page(replace(REPORT, steps=[_step("a", 1000, 102, sources={})]))


def test_texts_that_begin_alike_are_shown_around_their_first_difference():
    row = _row(chosen="x" * 10_000 + " end here", rejected="x" * 10_000 + " stop here")
    assert row.chosen.text.endswith(" end here")
    assert row.rejected.text.endswith(" stop here")
    assert row.chosen.n_before == row.rejected.n_before == 10_001 - 100
    assert f"{9_901:,} earlier characters" in render_funnel_page(_with_sample(row))


@given(st.text("ab", max_size=1500), st.text("ab", max_size=1500), st.text("ab", max_size=700))
def test_excerpts_never_lose_count_and_show_the_first_difference(chosen, rejected, alike):
    chosen, rejected = alike + chosen, alike + rejected
    row = _row(chosen=chosen, rejected=rejected)
    for text, one in ((chosen, row.chosen), (rejected, row.rejected)):
        assert one.n_before + len(one.text) + one.n_after == len(text)
        assert text[one.n_before :].startswith(one.text)
        assert len(one.text) <= EXCERPT_CHARS
    assert (row.chosen.text != row.rejected.text) == (chosen != rejected)


def _with_sample(row: SampleRow) -> FunnelReport:
    return replace(REPORT, steps=[REPORT.steps[0], replace(REPORT.steps[1], dropped=[row])])


@pytest.mark.parametrize(
    ("first", "second", "marked"),
    [
        ("one two three", "one 2 three", (["two"], ["2"])),
        ("The end.", "The end!", (["."], ["!"])),
        ("a b c", "a b c", ([], [])),
        ("all of it", "nothing like that", ([], [])),
        ("same words here", "same words here too", ([], [" too"])),
        ("今日は天気", "今日は晴天", (["気"], ["晴"])),
        ("one two\nthree", "one two three", (["\n"], [" "])),
        ("", "", ([], [])),
    ],
)
def test_words_that_differ_are_marked_where_half_of_them_are_shared(first, second, marked):
    sides = mark_differences(Excerpt(first), Excerpt(second))
    found = [[piece.text for piece in side.pieces if piece.differs] for side in sides]
    assert tuple(found) == marked


@given(st.text(max_size=80), st.text(max_size=80))
def test_pieces_are_the_text_whatever_it_is(first, second):
    one, other = mark_differences(Excerpt(first), Excerpt(second))
    assert "".join(piece.text for piece in one.pieces) == first
    assert "".join(piece.text for piece in other.pieces) == second


def test_hidden_characters_are_written_as_their_numbers():
    assert show_hidden("a\x00\x1b\x7f\u202eb\U000e0041\ud800") == "a⟨U+0000⟩⟨U+001B⟩⟨U+007F⟩⟨U+202E⟩b⟨U+E0041⟩⟨U+D800⟩"
    kept = "tab\tline\nöπ漢👩\u200d🚀 نعم"
    assert show_hidden(kept) == kept


def test_markup_and_template_marks_in_texts_and_names_are_shown_not_run():
    page = render_funnel_page(_attacked())
    assert not _tags(page).tags & {"script", "img", "b>", "iframe"}
    assert "&lt;script&gt;document.title" in page
    assert "{{ 7*7 }}" in page
    assert not re.search("[\x00-\x08\x0b-\x1f\u200b\u202a-\u202e\u2066-\u2069]", page)


def test_page_points_to_nothing_outside_itself_and_has_no_script():
    tags = _tags(render_funnel_page(REPORT))
    assert "script" not in tags.tags
    assert all(address.startswith(("#", "data:")) for address in tags.addresses)


def test_nothing_in_nothing_dropped_and_everything_dropped_are_told_plainly():
    assert "No pairs came in." in render_funnel_page(EMPTY)
    none = replace(REPORT, n_kept=1000, steps=[_step("one", 1000, 0)])
    page = render_funnel_page(none)
    assert "Filtering kept all of 1,000 pairs." in page
    assert "Samples</h2>" not in page
    assert "Drops most" not in page
    every = replace(REPORT, n_kept=0, steps=[_step("one", 1000, 1000)])
    assert "Filtering dropped every one of 1,000 pairs." in render_funnel_page(every)
    assert "No filters were asked for." in render_funnel_page(replace(REPORT, n_kept=1000, steps=[]))


def test_shares_close_to_none_or_all_are_not_rounded_to_them():
    step = _step("one", 1_000_000, 1, sources={"big": (1_000_000, 1)})
    page = render_funnel_page(replace(REPORT, n_in=1_000_000, n_kept=999_999, steps=[step]))
    assert f"&gt;{NBSP}99.9{NBSP}%" in page
    assert f"&lt;{NBSP}0.1{NBSP}%" in page


def test_the_same_report_gives_the_same_page():
    assert render_funnel_page(REPORT) == render_funnel_page(REPORT)


def test_page_is_written_whole_and_leaves_no_partial_file(tmp_path):
    write_funnel_page(REPORT, tmp_path / "funnel.html")
    write_funnel_page(EMPTY, tmp_path / "empty.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.html", "funnel.html"]
    for page in tmp_path.iterdir():
        assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")


def _open_whole(page, path):
    page.open(path.as_uri())
    page.wait_for_text("Samples")
    while page.evaluate("document.readyState") != "complete":
        time.sleep(0.05)


@pytest.mark.slow
def test_largest_page_stays_small_and_fits_narrow_and_wide_windows(tmp_path):
    report = _extreme()
    write_funnel_page(report, tmp_path / "funnel.html")
    assert (tmp_path / "funnel.html").stat().st_size <= MAX_BYTES
    for width in (1280, 400):
        with open_browser(width) as page:
            _open_whole(page, tmp_path / "funnel.html")
            page.evaluate("document.querySelectorAll('details')[3].open = true")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            wide = "e => e.getBoundingClientRect().right > innerWidth && !e.closest('.scroll')"
            assert page.evaluate(f"[...document.querySelectorAll('main *')].filter({wide}).length") == 0


@pytest.mark.slow
def test_hostile_texts_stay_texts_in_a_browser(tmp_path):
    write_funnel_page(_attacked(), tmp_path / "funnel.html")
    with open_browser() as page:
        _open_whole(page, tmp_path / "funnel.html")
        page.evaluate("document.querySelector('details').open = true")
        shown = page.evaluate("[...document.querySelectorAll('details pre')].map(e => e.textContent)")
        title = page.evaluate("document.title")
        count = page.evaluate("document.querySelectorAll('script, img, iframe, object').length")
        requests = page.evaluate("performance.getEntriesByType('resource').length")
    assert title.startswith("Filtering of ")
    assert (count, requests) == (0, 0)
    assert shown == [
        text + show_hidden(ATTACK) for _ in range(2) for text in ("", "say ", "do ")
    ]  # prompt, chosen, rejected of a dropped sample and of a near miss
    assert json.dumps(shown[0]).count("u202e") == 0
