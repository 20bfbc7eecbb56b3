"""Texts of models as cells: whatever they hold, a Markdown parser must see one code span and nothing else."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from flows.plain import cell, code_span

MARKUP = [
    "<img src=http://h/x>", "<b>", "![x](http://h/x)", "[a](b)", "`", "``", "```", "\n", "\n\n", "\t", "|", "#", " - ",
    "1. ", "**", "_", "\\", "&lt;", "http://h/x", "www.h.com", "[1]: http://h", "~~~", "    ", "---", ">", "word",
]  # fmt: skip


@given(st.lists(st.one_of(st.sampled_from(MARKUP), st.text(max_size=5)), max_size=12).map("".join))
@example("`` ` `` <img src=http://h/x>")
@example("```\n<img src=http://h/x>\n```")
@example("\\` <b>x</b>")
def test_any_text_is_one_code_span_or_harmless_words(text):
    shown = code_span(text)
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(shown)
    inner = [child for token in tokens for child in token.children or []]
    assert [token.type for token in tokens] in ([], ["paragraph_open", "inline", "paragraph_close"])
    if "`" in shown:
        assert [child.type for child in inner] == ["code_inline"]
    else:
        assert all(char.isalnum() or char in " ,/%+-" for char in shown)
        assert all(child.type == "text" for child in inner)
    assert "\n" not in shown
    shown.encode()


def test_nul_half_surrogates_and_controls_become_replacement_characters():
    assert code_span("a\x00b\ud800c\x1b[31m") == "` a\ufffdb\ufffdc\ufffd[31m `"
    assert code_span("safe\u202egnp.exe") == "` safegnp.exe `"


def test_long_texts_are_cut():
    shown = code_span("<b>" * 400_000)
    assert len(shown) == 304
    assert shown.endswith("… `")
    assert code_span("x" * 300) == "x" * 300


def test_numbers_are_rounded_and_what_is_no_number_is_empty():
    assert [cell(x) for x in (0.123456, 7, True, None, float("nan"), float("inf"), "two words")] == [
        0.1235, 7, "yes", "", "", "", "two words",
    ]  # fmt: skip
    assert json.dumps(cell(1e300)) == "1e+300"


@pytest.mark.timeout(20)
def test_a_long_sentence_is_looked_at_once():
    sentence = "One of the most moving thriller films of the year " * 100
    assert code_span(f"{sentence}.", 5000).startswith("` One of")
