"""The HTML page of a run."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evaluation.report import MAX_TEXT_CHARS, render_report, write_report
from evaluation.run_report import AnswerSample, Final

ATTACK = "</pre><script>document.title='taken'</script><img src=http://example.com/x onerror=alert(1)>"


class _Tags(HTMLParser):
    """Collects start tags, and every address an attribute points to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: set[str] = set()
        self.handlers: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action"):
                self.addresses.add(value or "")
            if name.startswith("on"):
                self.handlers.add(name)


def _attacked(report):
    sample = AnswerSample(ATTACK, ATTACK, ATTACK, 0.1, 0.2)
    first, second = report.rounds
    judge = replace(first.judge, judge="<script>1</script>")
    pair = replace(first.pairs[0], chosen=ATTACK, rejected=ATTACK)
    return replace(report, run=ATTACK, rounds=[replace(first, judge=judge, answers=[sample], pairs=[pair]), second])


def test_page_tells_the_verdict_the_rounds_and_the_reasons(run_report):
    page = render_report(run_report)
    rate = run_report.final.over_start.win_rate.mean
    assert f"Round 1 made the last good policy: it wins {100 * rate:.1f}\u00a0%" in page
    assert "✕ refused: gamed" in page
    assert "● accepted" in page
    assert "The annotator is being gamed: reward model rose" in page
    assert "chosen_truncated" in page


def test_run_without_an_accepted_round_says_that_the_start_stays(run_report):
    page = render_report(replace(run_report, final=Final("start", 0, None), rounds=run_report.rounds[1:]))
    assert "No round beat the starting model, so it stays the last good policy." in page


def test_run_without_pass_score_kl_samples_or_drops_renders(run_report):
    bare = replace(
        run_report.rounds[0],
        judge=replace(run_report.rounds[0].judge, pass_old=None, pass_new=None),
        kl=None, drops=[], pairs=[], answers=[], metrics=[],
    )  # fmt: skip
    page = render_report(replace(run_report, rounds=[bare]))
    assert "Answers that pass</h3>" not in page
    assert "Nothing." in page


def test_run_without_rounds_raises(run_report):
    with pytest.raises(ValueError, match="has no round"):
        render_report(replace(run_report, rounds=[]))


def test_page_points_to_nothing_outside_itself_and_has_no_script(run_report):
    tags = _Tags()
    tags.feed(render_report(run_report))
    assert "script" not in tags.tags
    assert all(address.startswith(("#", "data:")) for address in tags.addresses)


def test_markup_in_texts_and_names_is_shown_not_run(run_report):
    page = render_report(_attacked(run_report))
    tags = _Tags()
    tags.feed(page)
    assert not tags.tags & {"script", "img"}
    assert not tags.handlers
    assert "&lt;script&gt;document.title" in page


def test_long_text_is_cut_and_says_how_much_is_missing(run_report):
    sample = AnswerSample("Prompt", "y" * 100_000, "short", 0.1, 0.2)
    page = render_report(replace(run_report, rounds=[replace(run_report.rounds[0], answers=[sample])]))
    assert len(max(re.findall("y+", page), key=len)) == MAX_TEXT_CHARS
    assert f"({100_000 - MAX_TEXT_CHARS:,} more characters)" in page


def test_unscored_answer_is_called_unscored(run_report):
    assert "After · gold unscored<" in render_report(run_report)


def test_score_beside_an_answer_is_called_a_mean_over_the_prompts_answers(run_report):
    assert "Before · gold 0.640, the mean of the prompt&#39;s answers<" in render_report(run_report)


def test_page_is_written_whole_and_leaves_no_partial_file(run_report, tmp_path):
    write_report(run_report, tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


def _open_in_browser(page: Path, profile: Path) -> subprocess.CompletedProcess[str]:
    browser = shutil.which("chromium")
    assert browser, "this test needs chromium on the path"
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", "--dump-dom",
    ]  # fmt: skip
    return subprocess.run([browser, *flags, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.slow
def test_browser_shows_the_page_without_a_complaint_or_a_request(run_report, tmp_path):
    page = tmp_path / "report.html"
    write_report(_attacked(run_report), page)
    shown = _open_in_browser(page, tmp_path / "profile")
    assert "Round by round" in shown.stdout
    assert "<title>taken" not in shown.stdout
    # the page's policy forbids scripts and requests, so a try of either would be a console error
    assert "CONSOLE" not in shown.stderr


@pytest.mark.slow
def test_browser_would_complain_if_a_request_got_into_the_page(run_report, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(render_report(run_report).replace("<main>", "<main><img src='http://example.com/x'>"))
    assert "Content Security Policy" in _open_in_browser(page, tmp_path / "profile").stderr


def test_a_retried_round_and_an_early_end_are_named(run_report, tmp_path):
    retried = replace(run_report.rounds[1], attempt=1)
    ended = replace(run_report, rounds=[*run_report.rounds, retried], stopped="no policy was accepted in 1 round")
    path = tmp_path / "report.html"
    write_report(ended, path)
    page = path.read_text()
    assert "Round 2, retry 1" in page
    assert "The run stopped: no policy was accepted in 1 round." in page
