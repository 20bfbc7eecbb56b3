"""The texts of language-model judges, from files."""

import re
from pathlib import Path

import pytest

from judging.asking.template import read_template, render
from judging.chat_config import BUILT_IN_ASPECTS


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.jinja"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["rubric", "listwise"])
def test_templates_that_come_with_a_judge_state_their_version(name):
    assert re.match(r"\{# version \d+ #\}\n", read_template(name, None))


def test_rubric_template_has_a_text_for_each_built_in_aspect():
    text = read_template("rubric", None)
    assert len({render(text, name, {}) for name in BUILT_IN_ASPECTS}) == len(BUILT_IN_ASPECTS)


def test_values_are_text_never_templates(tmp_path):
    text = read_template("rubric", write(tmp_path, "{% block user %} <{{ parts }}> {% endblock %}"))
    assert render(text, "user", {"parts": "{{ 1 + 1 }} {% raw %} &"}) == "<{{ 1 + 1 }} {% raw %} &>"


@pytest.mark.parametrize(
    ("text", "block", "message"),
    [
        ("{% block user %}{{ part }}{% endblock %}", "user", "'part' is undefined; there is parts"),
        ("{% block user %}x{% endblock %}", "system", "no block 'system'; it has user"),
        ("x", "system", "no block 'system'; it has none"),
        ("{% block user %}{{ 1 / 0 }}{% endblock %}", "user", "block 'user': division by zero"),
        ("{% block user %}{{ parts + 1 }}{% endblock %}", "user", "block 'user': can only concatenate"),
        ("{% block user %}{{ parts.__class__.__mro__ }}{% endblock %}", "user", "unsafe"),
    ],
)
def test_blocks_and_values_that_there_are_not_are_named(tmp_path, text, block, message):
    with pytest.raises(ValueError, match=message):
        render(read_template("rubric", write(tmp_path, text)), block, {"parts": "p"})


def test_template_that_is_missing_is_no_text_or_is_no_template_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no\.jinja can't be read"):
        read_template("rubric", tmp_path / "no.jinja")
    with pytest.raises(ValueError, match=r"mine\.jinja is no Jinja template"):
        read_template("rubric", write(tmp_path, "{% block %}"))
    (tmp_path / "bytes.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"bytes\.jinja can't be read"):
        read_template("rubric", tmp_path / "bytes.jinja")
